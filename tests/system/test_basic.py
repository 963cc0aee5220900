"""Start, the bundled welcome page, what a worker is given, headers on the wire,
drover's own error pages, routes, access log."""
import json
import os
import re
import signal

import procs
from drover import AS_ROOT, bundled
from peers import ok


def sent(peer, number=-1):
	return peer.requests[number]


def test_run_without_config_shows_a_page(drover):
	port = procs.free_port()
	drover.port = port
	drover.launch(args=['run', '--listen', f'127.0.0.1:{port}', '--instances', '2'])
	drover.name = f'run-{drover.pid}'
	drover.wait_serving(2)
	page = drover.get('/')
	assert page.status == 200
	assert page.get('Content-Type', '').startswith('text/html')
	assert re.search(r'drover', page.text, re.I)
	assert len(drover.workers()) == 2


def test_run_with_command_and_short_listen(drover):
	port = procs.free_port()
	drover.port = port
	drover.launch(args=['run', '--name', drover.name, '--listen', str(port), '--instances', '3', '--', *bundled()])
	drover.wait_serving(3)
	assert drover.get('/instance').text.strip() in ('0', '1', '2')


def test_version_and_help(drover):
	drover.launch(args=['--version'])
	assert drover.wait_exit() == 0
	assert re.search(r'drover \d+\.\d+', procs.read(drover.out_file).decode())
	drover.launch(args=['--help'])
	assert drover.wait_exit() == 0
	out = procs.read(drover.out_file).decode()
	for word in ('run', 'check', 'config'):
		assert word in out
	drover.launch(args=['run', '--help'])
	assert drover.wait_exit() == 0
	out = procs.read(drover.out_file).decode()
	for word in ('-c', '--listen', '--instances', '-- COMMAND'):
		assert word in out


def test_check_and_config_commands(drover):
	drover.write_config(drover.config({'instances': 3}))
	for words in (['check', '-c', drover.config_file], ['-t', '-c', drover.config_file]):
		drover.launch(args=words)
		assert drover.wait_exit() == 0, drover.log()
	drover.launch(args=['config', '-c', drover.config_file])
	assert drover.wait_exit() == 0, drover.log()
	shown = procs.read(drover.out_file).decode()
	assert re.search(r'instances: 3\b', shown)
	assert os.path.basename(drover.config_file) in shown, 'the origin of a value that was set'
	assert 'default' in shown, 'the origin of a value that was not'


def test_worker_environment(drover):
	drover.start(drover.config({'instances': 2, 'env': {'COLOUR': 'grey', 'WHERE': '${HOST}:${PORT}/${INSTANCE}'}}))
	ports = set()
	for w in drover.workers():
		env = w.env
		assert env['HOST'] == '127.0.0.1'
		assert env['NODE_APP_INSTANCE'] == env['INSTANCE'] == str(w.instance)
		assert env['DROVER_APP'] == 'app'
		assert env['DROVER_RELEASE']
		assert env['WEB_CONCURRENCY'] == '1'
		assert env['COLOUR'] == 'grey'
		assert env['WHERE'] == f"127.0.0.1:{w.port}/{w.instance}"
		assert procs.stat(w.pid).group == w.pid, 'its own process group'
		ports.add(w.port)
	assert sorted(w.instance for w in drover.workers()) == [0, 1]
	assert len(ports) == 2, 'distinct ports'


def test_command_as_text_and_placeholders(drover):
	words = ' '.join(bundled())
	drover.start(drover.config({'command': f'/usr/bin/env "SPOT=${{INSTANCE}} of ${{HOST}}" {words}', 'instances': 2}))
	assert {drover.get('/env?SPOT').text.strip() for _ in range(4)} == {'0 of 127.0.0.1', '1 of 127.0.0.1'}


def test_env_file_directory_and_port_range(drover):
	os.mkdir(drover.path('sub'))
	with open(drover.path('app.env'), 'w', encoding='utf-8') as f:
		f.write('# a comment\nFROM_FILE=yes\nBOTH=file\n')
	low = 21000 + os.getpid() % 5000
	drover.start(drover.config({'env_file': 'app.env', 'env': {'BOTH': 'config'}, 'directory': 'sub',
				    'ports': f'{low}-{low + 40}'}))
	for w in drover.workers():
		assert w.env['FROM_FILE'] == 'yes' and w.env['BOTH'] == 'config'
		assert low <= int(w.port) <= low + 40
		assert os.readlink(f'/proc/{w.pid}/cwd') == drover.path('sub')


def test_worker_output_is_captured_with_its_name(drover):
	script = 'echo to-out; echo to-err >&2; printf no-newline; exec "$0" "$@"'
	drover.start(drover.config({'command': ['sh', '-c', script, *bundled()], 'instances': 1}))
	pid = drover.workers()[0].pid
	drover.wait_log(rf'app\.0\[{pid}\]:? to-err$')
	drover.wait(lambda: f'app.0[{pid}]: to-out\n' in drover.output(), 'its output is on our output')
	drover.stop()
	assert f'app.0[{pid}]: no-newline' in drover.output(), 'also the line without an end'


def test_processes_are_named(running):
	names = [procs.command_line(p) for p in procs.children(running.pid)]
	assert sum(n.startswith('drover: balancer') for n in names) == 1
	assert sum(n.startswith('drover: warden') for n in names) == 1
	if AS_ROOT:
		for pid in running.balancers():
			uids = re.search(rb'^Uid:\s+(\d+)', procs.read(f'/proc/{pid}/status'), re.M)
			assert int(uids[1]) != 0, 'a balancer parses bytes from the network: not as root'


def test_request_headers_to_the_worker(drover, peer):
	p = peer()
	drover.start(drover.config({'servers': [p.server]}, trust=[]))
	drover.get('/a%20path/?q=1&r=%2F', host='shop.example:8080', headers=(
		('Connection', 'keep-alive, X-Hop, Upgrade-Insecure'), ('X-Hop', 'hop'), ('Upgrade-Insecure', '1'),
		('Keep-Alive', 'timeout=5'), ('Proxy-Connection', 'keep-alive'), ('TE', 'gzip, trailers'),
		('Proxy-Authorization', 'Basic Zm9v'), ('X-End', 'stays'), ('X-Twice', 'one'), ('X-Twice', 'two'),
		('X-Forwarded-For', '6.6.6.6'), ('X-Forwarded-Proto', 'https'), ('X-Forwarded-Host', 'evil.example'),
		('X-Forwarded-Port', '443'), ('X-Forwarded-Ssl', 'on'), ('X_Forwarded_Prefix', '/x'),
		('X-Request-Id', 'forged'), ('traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01')))
	r = sent(p)
	assert (r.method, r.target, r.version) == ('GET', '/a%20path/?q=1&r=%2F', 'HTTP/1.1')
	assert r.get('Host') == 'shop.example:8080'
	for gone in ('X-Hop', 'Upgrade-Insecure', 'Keep-Alive', 'Proxy-Connection', 'Proxy-Authorization', 'Upgrade'):
		assert r.get(gone) is None, f'{gone} is hop-by-hop'
	assert (r.get('Connection'), r.get('TE')) == ('TE', 'trailers'), 'drover takes trailers itself, and no other coding'
	assert r.get('X-End') == 'stays'
	assert r.all('X-Twice') == ['one', 'two']
	assert r.get('X-Forwarded-For') == '127.0.0.1', 'not what an unknown client claims'
	assert r.get('X-Forwarded-Proto') == 'http'
	assert r.get('X-Forwarded-Host') == 'shop.example:8080'
	for gone in ('X-Forwarded-Port', 'X-Forwarded-Ssl', 'X_Forwarded_Prefix'):
		assert r.get(gone) is None, f'{gone} is not what an unknown client may say'
	assert r.get('X-Request-Id') not in (None, '', 'forged')
	assert r.get('traceparent') == '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
	assert r.get('Transfer-Encoding') is None and r.get('Content-Length') is None, 'no body, no framing'


def test_trusted_clients_are_believed(drover, peer):
	p = peer()
	drover.start(drover.config({'servers': [p.server]}, trust=['127.0.0.0/8']))
	drover.get('/', headers=(('X-Forwarded-For', '198.51.100.7, 10.0.0.1'), ('X-Forwarded-Proto', 'https'),
				 ('X-Forwarded-Host', 'front.example'), ('X-Forwarded-Port', '443'), ('X-Request-Id', 'abc-123')))
	r = sent(p)
	assert re.split(r',\s*', ','.join(r.all('X-Forwarded-For'))) == ['198.51.100.7', '10.0.0.1', '127.0.0.1']
	assert r.get('X-Forwarded-Proto') == 'https'
	assert r.get('X-Forwarded-Host') == 'front.example'
	assert r.get('X-Forwarded-Port') == '443'
	assert r.get('X-Request-Id') == 'abc-123'


def test_request_ids_differ(drover, peer):
	p = peer()
	drover.start(drover.config({'servers': [p.server]}, balancers=2))
	before = len(p.requests)
	for _ in range(20):
		drover.get('/')
	ids = [r.get('X-Request-Id') for r in p.requests[before:]]
	assert len(set(ids)) == 20


def test_reply_headers_to_the_client(drover, peer):
	def script(c, _):
		c.send(b'HTTP/1.1 203 Odd But Fine\r\nserver: mine/1.0\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n'
		       b'Connection: X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=9\r\nProxy-Authenticate: Basic\r\n'
		       b'Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-Empty:\r\nContent-Length: 2\r\n\r\nok')
	p = peer(script)
	drover.start(drover.config({'servers': [p.server]}))
	with drover.connect() as c:
		r = c.ask()
		assert (r.status, r.start.split(' ', 2)[2]) == (203, 'Odd But Fine')
		assert r.get('Server') == 'mine/1.0'
		assert r.all('Set-Cookie') == ['a=1', 'b=2']
		assert r.get('Date') == 'Sun, 06 Nov 1994 08:49:37 GMT'
		assert r.get('X-Empty') == ''
		for gone in ('X-Private', 'Keep-Alive', 'Proxy-Authenticate'):
			assert r.get(gone) is None, f'{gone} is hop-by-hop'
		assert r.body == b'ok' and not r.closes
		assert c.ask().status == 203, 'the connection goes on'


def test_own_error_replies(drover):
	"""No such route: drover itself answers, in the form the client prefers."""
	drover.start(drover.config(routes=[{'path': '/app', 'app': 'app'}]), instances=2)
	for accept, kind in (('text/html,application/xhtml+xml,*/*;q=0.8', 'text/html'),
			     ('application/json', 'application/problem+json'),
			     ('application/problem+json', 'application/problem+json'),
			     ('*/*', 'text/plain'), (None, 'text/plain')):
		with drover.connect() as c:
			r = c.ask(target='/elsewhere', headers=(('Accept', accept),) if accept else ())
			assert r.status == 404, r
			assert r.get('Content-Type', '').split(';')[0] == kind, (accept, r)
			assert r.get('X-Request-Id')
			assert re.match(r'drover; *error=\w+', r.get('Proxy-Status', '')), r
			assert r.get('Date')
			if kind == 'application/problem+json':
				assert json.loads(r.body)['status'] == 404
			assert r.body and not r.closes
			head = c.ask('HEAD', '/elsewhere')
			assert head.status == 404 and head.body == b''


def test_unreachable_server_is_502(drover):
	drover.start(drover.config({'servers': [f'127.0.0.1:{procs.free_port()}']}))
	r = drover.get('/')
	assert r.status in (502, 503) and 'error=' in r.get('Proxy-Status', '')


def test_routes_by_host_and_path(drover, peer):
	one, two, three = (peer(lambda c, r, n=n: c.send(ok(n))) for n in (b'one', b'two', b'three'))
	drover.start(drover.config({'servers': [one.server]}, apps={
		'one': {'servers': [one.server]}, 'two': {'servers': [two.server]}, 'three': {'servers': [three.server]}},
		routes=[{'host': 'api.example.com', 'path': '/v1', 'app': 'two'}, {'host': '*.example.org', 'app': 'three'},
			{'path': '/static', 'app': 'two'}, {'app': 'one'}]))
	for host, path, expected in (('api.example.com', '/v1', 'two'), ('API.Example.com:99', '/v1/x?y', 'two'),
				     ('api.example.com', '/v10', 'one'), ('a.b.example.org', '/', 'three'),
				     ('example.org', '/', 'one'), ('x', '/static/a', 'two'), ('x', '/statics', 'one')):
		assert drover.get(path, host=host).text == expected, (host, path)


def test_access_log(drover):
	drover.start()
	drover.get('/status?code=404', headers=(('Referer', 'http://from.example/'), ('User-Agent', 'test "agent"')))
	line = drover.wait(lambda: next((l for l in drover.access_log().splitlines() if '/status?code=404' in l), None),
			   'the request is logged')
	assert re.match(r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /status\?code=404 HTTP/1\.1" '
			r'404 \d+ "http://from\.example/" "test ', line), line
	assert '"agent"' not in line.replace('\\"', '').replace('\\x22', ''), 'a quote cannot end the field'


def test_access_log_as_json(drover):
	drover.start(drover.config(log={'access': drover.access_file, 'format': 'json'}))
	drover.get('/instance', headers=(('User-Agent', 'quote " back \\ tab'),))
	line = drover.wait(lambda: next((l for l in drover.access_log().splitlines() if 'back' in l), None), 'it is logged')
	entry = json.loads(line)
	assert 200 in entry.values() and 'quote " back \\ tab' in entry.values(), entry


def test_reopen_logs_on_usr1(drover):
	drover.start(drover.config(log={'access': drover.access_file, 'error': drover.path('error.log')}))
	os.rename(drover.access_file, drover.path('access.old'))
	os.rename(drover.path('error.log'), drover.path('error.old'))
	drover.signal(signal.SIGUSR1)
	drover.wait(lambda: os.path.exists(drover.access_file) and os.path.exists(drover.path('error.log')), 'new log files')
	def logged_anew():
		drover.get('/instance')
		return '/instance' in drover.access_log()
	drover.wait(logged_anew, 'requests go to the new file')


def test_more_and_less_workers_by_signal(running):
	running.signal(signal.SIGTTIN)
	running.wait(lambda: len(running.workers()) == 3, 'one worker more')
	running.wait_serving(3)
	for left in (2, 1):
		running.signal(signal.SIGTTOU)
		running.wait(lambda: len(running.workers()) == left, 'one worker less')
	assert running.get('/instance').text.strip() == '0'
	running.settle()


def test_pid_file(drover):
	path = drover.path('drover.pid')
	drover.start(drover.config(pid_file=path))
	assert int(procs.read(path)) == drover.pid
	drover.stop()
	assert not os.path.exists(path)


def test_second_instance_of_one_name_is_refused(drover, new_drover):
	drover.start()
	other = new_drover()
	other.runtime_dir = drover.runtime_dir
	other.write_config(other.config(name=drover.name))
	other.launch()
	assert other.wait_exit() == 1
	assert str(drover.pid) in other.log() and drover.name in other.log()
	assert drover.get('/instance').status == 200


def test_two_instances_of_different_names(drover, new_drover):
	drover.start()
	other = new_drover().start()
	assert drover.get('/instance').status == other.get('/instance').status == 200
	other.stop()
	assert drover.get('/instance').status == 200


def test_ipv6_and_several_addresses(drover):
	second = procs.free_port()
	drover.listen_ports = lambda: {drover.port, second}
	drover.start(drover.config(listen=[f'127.0.0.1:{drover.port}', {'address': f'[::1]:{second}'}]))
	from wire import Client
	with Client(('::1', second)) as c:
		assert c.ask(target='/instance').status == 200
