// An Express application like many: one JSON route, and a SIGTERM handler that
// stops listening and at once ends every keep-alive connection it has, in use
// or not.  Nothing here knows of drover.
'use strict';

const express = require('express');

const app = express();
app.get('/', (req, res) => {
	res.json({ hello: 'world', instance: Number(process.env.INSTANCE), pid: process.pid });
});

const server = app.listen(process.env.PORT, process.env.HOST);

const sockets = new Set();
server.on('connection', (socket) => {
	sockets.add(socket);
	socket.on('close', () => sockets.delete(socket));
});

process.on('SIGTERM', () => {
	server.close(() => process.exit(0));
	for (const socket of sockets)
		socket.end();
});
