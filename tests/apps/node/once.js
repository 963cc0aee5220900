// Node's own HTTP server with its default keep-alive limit of 5 s.  Notes the id of each POST
// that it gets; GET answers with how often each has come.
'use strict';
const seen = new Map();
require('http').createServer((req, res) => {
	if (req.method !== 'POST') {
		res.end(JSON.stringify([...seen]));
		return;
	}
	const id = req.headers['x-id'];
	seen.set(id, (seen.get(id) || 0) + 1);
	req.resume().on('end', () => res.end(id));
}).listen(process.env.PORT.startsWith('/') ? { path: process.env.PORT } : { port: process.env.PORT, host: '127.0.0.1' });
