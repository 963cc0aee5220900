"""Files from a directory: what is served, which part of it, and what never is."""
import email.utils
import os

import pytest

from one_worker import Kept, lent, pattern, start_worker  # noqa: F401
from wire import Truncated

SECRET = b'not for you'
TEXT = b'0123456789' * 10
OLD = 1_000_000_000  # 2001-09-09, for dates that stand still
DATE = 'Sun, 09 Sep 2001 01:46:40 GMT'


def make_root(tmp_path):
	"""tmp_path/root is served; tmp_path/outside is not."""
	def put(name, data):
		path = tmp_path / name
		path.parent.mkdir(parents=True, exist_ok=True)
		path.write_bytes(data)
		os.utime(path, (OLD, OLD))
	put('outside/secret.txt', SECRET)
	put('root/text.txt', TEXT)
	put('root/empty.txt', b'')
	put('root/index.html', b'<p>home')
	put('root/sub/index.html', b'<p>sub')
	put('root/sub/deep/a b+c.css', b'p{}')
	put('root/caf\u00e9.json', b'{}')
	put('root/.hidden', SECRET)
	put('root/.git/config', SECRET)
	put('root/big.bin', pattern(3000000))
	os.mkdir(tmp_path / 'root/bare')
	os.mkfifo(tmp_path / 'root/pipe')
	root = tmp_path / 'root'
	(root / 'inside').symlink_to('sub/deep')
	(root / 'alias.txt').symlink_to('text.txt')
	(root / 'absolute').symlink_to(tmp_path / 'outside/secret.txt')
	(root / 'climbing').symlink_to('../outside/secret.txt')
	(root / 'climbing-dir').symlink_to('../outside')
	(root / 'sub/back').symlink_to('../text.txt')
	(root / 'loop').symlink_to('loop')
	(root / 'magic').symlink_to('/proc/self/root')
	return root


@pytest.fixture
def root(tmp_path):
	return make_root(tmp_path)


@pytest.fixture
def own_site(start_worker, root):
	"""For tests that change what is served."""
	return start_worker(str(root))


@pytest.fixture(scope='module')
def kept_site(tmp_path_factory):
	kept = Kept(str(make_root(tmp_path_factory.mktemp('site'))))
	yield kept
	kept.end()


@pytest.fixture
def site(kept_site, request):
	with lent(kept_site, request) as w:
		yield w


@pytest.mark.parametrize('target, body, type_', [
	('/text.txt', TEXT, 'text/plain; charset=utf-8'),
	('/text.txt?query=1', TEXT, 'text/plain; charset=utf-8'),
	('/%74ext%2Etxt', TEXT, 'text/plain; charset=utf-8'),
	('//text.txt', TEXT, 'text/plain; charset=utf-8'),
	('/', b'<p>home', 'text/html; charset=utf-8'),
	('/sub/', b'<p>sub', 'text/html; charset=utf-8'),
	('/sub//deep///a%20b+c.css', b'p{}', 'text/css; charset=utf-8'),
	('/inside/a%20b+c.css', b'p{}', 'text/css; charset=utf-8'),
	('/caf%C3%A9.json', b'{}', 'application/json'),
	('/alias.txt', TEXT, 'text/plain; charset=utf-8'),
	('/sub/back', TEXT, 'application/octet-stream'),
	('/empty.txt', b'', 'text/plain; charset=utf-8'),
	('/big.bin', pattern(3000000), 'application/octet-stream'),
], ids=lambda v: v if isinstance(v, str) and v[0] == '/' else '')
def test_served(site, target, body, type_):
	r = site.get(target)
	assert (r.status, r.body) == (200, body) and r.get('Content-Type') == type_
	assert r.get('Accept-Ranges') == 'bytes' and r.get('Last-Modified') == DATE
	assert r.get('X-Content-Type-Options') == 'nosniff'
	head = site.ask('HEAD', target)
	same = ('Content-Type', 'Content-Length', 'ETag', 'Last-Modified')
	assert head.status == 200 and [head.get(n) for n in same] == [r.get(n) for n in same]


@pytest.mark.parametrize('target', [
	'/nope', '/nope/', '/text.txt/', '/text.txt/x', '/bare/', '/pipe', '/.hidden', '/.git/config', '/.git/', '/sub/../.hidden',
	'/../outside/secret.txt', '/sub/../../outside/secret.txt', '/..', '/../', '/.', '/./text.txt', '/...', '/sub/..',
	'/%2e%2e/outside/secret.txt', '/%2E%2E%2Foutside%2Fsecret.txt', '/..%2foutside/secret.txt',
	'/sub/%2e%2e/%2e%2e/outside/secret.txt', '/%2e%67it/config', '//../outside/secret.txt',
	'/absolute', '/climbing', '/climbing-dir/secret.txt', '/climbing-dir/', '/climbing-dir', '/loop',
	'/magic', '/magic/etc/passwd', '//etc/passwd', '/%2Fetc/passwd', '/..\\outside\\secret.txt',
	'/%252e%252e/outside/secret.txt', '/text.txt%2F', '/x' * 2000, '/' + 'y' * 300,
], ids=lambda t: t[:40])
def test_not_found(site, target):
	r = site.get(target)
	assert r.status == 404 and SECRET not in r.body


@pytest.mark.parametrize('target, status', [
	('/%00', 400), ('/text.txt%00.html', 400), ('/%', 400), ('/%4', 400), ('/%zz', 400), ('/%2', 400), ('/a%', 400),
	('/' + 'x' * 5000, 414),
], ids=lambda v: str(v)[:20])
def test_malformed(site, target, status):
	assert site.get(target).status == status


def test_every_way_of_writing_a_way_out(own_site, root):
	"""Dots and slashes, plain and escaped, in all mixtures of three: nothing gets out."""
	dots, slashes = ('..', '%2e%2e', '.%2E', '%2e.'), ('/', '%2f', '//', '/./', '\\')
	with own_site.connect() as c:
		for d in dots:
			for s in slashes:
				for prefix in ('/', '/sub/', '/sub' + s, '/inside/', '/climbing-dir/'):
					for end in ('outside/secret.txt', 'root/.hidden', '.git/config'):
						r = c.ask(target=prefix + (d + s) * 2 + end)
						assert r.status == 404 and SECRET not in r.body
						if r.closes:
							raise AssertionError('a 404 need not end the connection')


def test_methods(site):
	for method in ('POST', 'PUT', 'DELETE', 'OPTIONS', 'PROPFIND'):
		r = site.ask(method, '/text.txt', body=b'x')
		assert r.status == 405 and r.get('Allow') == 'GET, HEAD'


@pytest.mark.parametrize('target, location', [
	('/sub', '/sub/'), ('/sub?a=b&c', '/sub/?a=b&c'), ('//sub', '/sub/'), ('///sub/deep', '/sub/deep/'),
	('/s%75b', '/s%75b/'), ('/inside', '/inside/')])
def test_directories_end_with_a_slash(site, target, location):
	r = site.get(target)
	assert r.status == 301 and r.get('Location') == location


def test_a_file_that_may_not_be_read(start_worker, root):
	os.chmod(root / 'text.txt', 0)
	# Root reads everything, unless it lacks these capabilities.
	wrapper = ['setpriv', '--bounding-set=-dac_override,-dac_read_search'] if os.geteuid() == 0 else []
	assert start_worker(str(root), wrapper=wrapper).get('/text.txt').status == 403


# Conditions (RFC 9110, 13)

def test_etag_changes_with_the_file(own_site, root):
	first = own_site.get('/text.txt').get('ETag')
	assert first.startswith('"') and first == own_site.get('/alias.txt').get('ETag')
	os.utime(root / 'text.txt', ns=(OLD * 10**9, OLD * 10**9 + 1))
	second = own_site.get('/text.txt').get('ETag')
	(root / 'text.txt').write_bytes(TEXT + b'!')
	os.utime(root / 'text.txt', ns=(OLD * 10**9, OLD * 10**9 + 1))
	third = own_site.get('/text.txt').get('ETag')
	(root / 'other').write_bytes(TEXT + b'!')
	os.utime(root / 'other', ns=(OLD * 10**9, OLD * 10**9 + 1))
	os.rename(root / 'other', root / 'text.txt')
	fourth = own_site.get('/text.txt').get('ETag')
	assert len({first, second, third, fourth}) == 4


EARLIER, LATER = 'Sun, 09 Sep 2001 01:46:39 GMT', 'Sun, 09 Sep 2001 01:46:41 GMT'


@pytest.mark.parametrize('headers, status', [
	([('If-None-Match', 'TAG')], 304),
	([('If-None-Match', 'W/TAG')], 304),
	([('If-None-Match', '"a,b", TAG')], 304),
	([('If-None-Match', '"x"'), ('If-None-Match', 'TAG')], 304),
	([('If-None-Match', '*')], 304),
	([('If-None-Match', '"x"')], 200),
	([('If-None-Match', '')], 200),
	([('If-Modified-Since', DATE)], 304),
	([('If-Modified-Since', LATER)], 304),
	([('If-Modified-Since', 'Sunday, 09-Sep-01 01:46:40 GMT')], 304),
	([('If-Modified-Since', 'Sun Sep  9 01:46:40 2001')], 304),
	([('If-Modified-Since', EARLIER)], 200),
	([('If-Modified-Since', 'yesterday')], 200),
	([('If-Modified-Since', DATE + ' x')], 200),
	([('If-None-Match', '"x"'), ('If-Modified-Since', LATER)], 200),
	([('If-None-Match', 'TAG'), ('If-Modified-Since', EARLIER)], 304),
	([('If-Match', 'TAG')], 200),
	([('If-Match', '"x", TAG')], 200),
	([('If-Match', '*')], 200),
	([('If-Match', 'W/TAG')], 412),
	([('If-Match', '"x"')], 412),
	([('If-Match', '"x"'), ('If-None-Match', 'TAG')], 412),
	([('If-Unmodified-Since', EARLIER)], 412),
	([('If-Unmodified-Since', DATE)], 200),
	([('If-Match', 'TAG'), ('If-Unmodified-Since', EARLIER)], 200),
])
def test_conditions(site, headers, status):
	tag = site.get('/text.txt').get('ETag')
	headers = [(n, v.replace('TAG', tag)) for n, v in headers]
	for method in ('GET', 'HEAD'):
		with site.connect() as c:
			r = c.ask(method, '/text.txt', headers)
			assert r.status == status and r.get('ETag') == tag
			if status == 304:
				assert r.get('Content-Length') is None and r.get('Content-Type') is None
			elif status == 200 and method == 'GET':
				assert r.body == TEXT
			assert c.ask(target='/text.txt').body == TEXT, 'in step afterwards'


def test_no_date_in_the_future(own_site, root):
	os.utime(root / 'text.txt', (2**32, 2**32))
	r = own_site.get('/text.txt')
	assert r.get('Last-Modified') is None and r.get('ETag')
	assert email.utils.parsedate(r.get('Date'))


# Ranges (RFC 9110, 14)

@pytest.mark.parametrize('spec, part', [
	('bytes=0-0', (0, 0)), ('bytes=0-99', (0, 99)), ('bytes=10-19', (10, 19)), ('bytes=95-', (95, 99)),
	('bytes=-5', (95, 99)), ('bytes=-100', (0, 99)), ('bytes=-1000', (0, 99)), ('bytes=50-1000', (50, 99)),
	('bytes=99-99', (99, 99)), ('Bytes=10-19', (10, 19)), ('bytes=10-18446744073709551616', (10, 99)),
	('bytes=-99999999999999999999999', (0, 99)), ('bytes= 10-19 ,', (10, 19)),
])
def test_one_range(site, spec, part):
	first, last = part
	r = site.get('/text.txt', ('Range', spec))
	assert r.status == 206 and r.body == TEXT[first:last + 1]
	assert r.get('Content-Range') == f'bytes {first}-{last}/100' and r.get('ETag')


@pytest.mark.parametrize('spec', ['bytes=100-', 'bytes=100-200', 'bytes=-0', 'bytes=18446744073709551616-'])
def test_range_outside(site, spec):
	with site.connect() as c:
		r = c.ask(target='/text.txt', headers=(('Range', spec),))
		assert r.status == 416 and r.get('Content-Range') == 'bytes */100'
		assert c.ask(target='/text.txt').body == TEXT


@pytest.mark.parametrize('spec', [
	'bytes=', 'bytes=-', 'bytes=5', 'bytes=9-5', 'bytes=a-b', 'bytes=1-2-3', 'bytes=+1-2', 'bytes 1-2', 'lines=1-2',
	'bytes=0-1,5-6', 'bytes=0-,0-,0-', 'bytes=1 - 2'])
def test_ranges_that_get_the_whole(site, spec):
	r = site.get('/text.txt', ('Range', spec))
	assert (r.status, r.body) == (200, TEXT) and r.get('Content-Range') is None


def test_range_of_a_big_file_and_of_nothing(site):
	r = site.get('/big.bin', ('Range', 'bytes=1000000-2500000'))
	assert r.status == 206 and r.body == pattern(3000000)[1000000:2500001]
	assert site.get('/empty.txt', ('Range', 'bytes=-5')).status == 200
	assert site.get('/empty.txt', ('Range', 'bytes=0-')).status == 416
	assert site.ask('HEAD', '/text.txt', (('Range', 'bytes=0-1'),)).status == 200, 'defined for GET only'


@pytest.mark.parametrize('value, status', [
	('TAG', 206), ('W/TAG', 200), ('"x"', 200), (DATE, 206), (EARLIER, 200), (LATER, 200), ('*', 200)])
def test_if_range(site, value, status):
	tag = site.get('/text.txt').get('ETag')
	r = site.get('/text.txt', ('Range', 'bytes=1-2'), ('If-Range', value.replace('TAG', tag)))
	assert r.status == status


def test_conditions_come_before_ranges(site):
	tag = site.get('/text.txt').get('ETag')
	assert site.get('/text.txt', ('Range', 'bytes=1-2'), ('If-None-Match', tag)).status == 304
	assert site.get('/text.txt', ('Range', 'bytes=900-'), ('If-Match', '"x"')).status == 412


# Files that change while they are served

def test_a_file_that_shrinks_ends_the_connection(start_worker, tmp_path):
	(tmp_path / 'log').write_bytes(b'x' * 50000000)
	w = start_worker(str(tmp_path))
	with w.connect(receive_buffer=16384) as c:
		c.request(target='/log')
		head = c.head()
		os.truncate(tmp_path / 'log', 100)
		with pytest.raises(Truncated):
			b''.join(c.body(head))
	assert 'shorter' in w.log() and w.get('/log').body == b'x' * 100


def test_a_file_that_is_replaced_is_sent_as_it_was(start_worker, tmp_path):
	(tmp_path / 'page').write_bytes(pattern(20000000))
	w = start_worker(str(tmp_path))
	with w.connect(receive_buffer=16384) as c:
		c.request(target='/page')
		head = c.head()
		(tmp_path / 'new').write_bytes(b'new')
		os.rename(tmp_path / 'new', tmp_path / 'page')
		assert b''.join(c.body(head)) == pattern(20000000)
		assert c.ask(target='/page').body == b'new'


def test_pipelined_files(site):
	with site.connect() as c:
		for target in ('/big.bin', '/text.txt', '/empty.txt', '/nope', '/big.bin'):
			c.request(target=target)
		assert [len(c.reply().body) > 99 for _ in range(5)] == [True, True, False, False, True]


def test_a_reader_that_leaves(site):
	for _ in range(5):
		c = site.connect(receive_buffer=16384)
		c.request(target='/big.bin')
		c.head()
		c.reset()
	assert site.get('/text.txt').body == TEXT


def test_test_mode_beside_files(start_worker, root):
	w = start_worker('--test', str(root))
	assert w.get('/instance').text == '0\n' and w.get('/text.txt').body == TEXT
