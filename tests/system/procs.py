"""What /proc tells about a running drover: its processes, their descriptors and memory."""
import os
import re
import socket
import struct
import time
from collections import Counter

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_used_ports = set()
TCP_ESTABLISHED, TCP_LISTEN = 1, 10
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, NLMSG_ERROR, NLMSG_DONE = 4, 20, 0x301, 2, 3


def wait_until(condition, timeout, what):
	"""Polls until `condition()` is true and returns its value.  `what` completes "never happened:"."""
	end = time.monotonic() + timeout
	while True:
		began = time.monotonic()
		value = condition()
		if value:
			return value
		now = time.monotonic()
		if now > end:
			raise AssertionError(f'never happened within {timeout} s: {what() if callable(what) else what}')
		# A look that costs much, as those into many files of /proc do, is not to take the processor from what it waits for.
		time.sleep(min(max(0.01, 2 * (now - began)), 0.1))


def read(path):
	try:
		with open(path, 'rb') as f:
			return f.read()
	except (FileNotFoundError, ProcessLookupError, PermissionError):
		return b''


class Stat:
	"""Fields of /proc/PID/stat that matter here; None for a pid that is gone: see stat()."""

	def __init__(self, text):
		rest = text[text.rindex(b')') + 2:].split()
		self.state = rest[0].decode()
		self.parent, self.group, self.session = (int(x) for x in rest[1:4])
		self.start = int(rest[19])


def stat(pid):
	text = read(f'/proc/{pid}/stat')
	return Stat(text) if text else None


def age(pid):
	"""Seconds since its start, to the hundredth; 0 for one that is gone."""
	s = stat(pid)
	return float(read('/proc/uptime').split()[0]) - s.start / os.sysconf('SC_CLK_TCK') if s else 0.0


def alive(pid):
	s = stat(pid)
	return bool(s) and s.state not in 'ZX'


def all_pids():
	return [int(n) for n in os.listdir('/proc') if n.isdigit()]


def of_session(session):
	"""Living processes of a session: everything that its leader started, unless it called setsid()."""
	found = []
	for pid in all_pids():
		s = stat(pid)
		if s and s.session == session and s.state not in 'ZX':
			found.append(pid)
	return found


def children(pid):
	listed = read(f'/proc/{pid}/task/{pid}/children')
	return [int(p) for p in listed.split() if alive(int(p))]


def command_line(pid):
	return read(f'/proc/{pid}/cmdline').replace(b'\0', b' ').decode('utf-8', 'replace').strip()


def environment(pid):
	pairs = (e.split(b'=', 1) for e in read(f'/proc/{pid}/environ').split(b'\0') if b'=' in e)
	return {k.decode('latin-1'): v.decode('latin-1') for k, v in pairs}


def memory_kib(pid):
	"""Proportional share of the memory in use."""
	found = re.search(rb'^Pss:\s+(\d+) kB', read(f'/proc/{pid}/smaps_rollup'), re.M)
	return int(found[1]) if found else 0


def cpu_seconds(pid):
	"""CPU time it has used, to the nanosecond."""
	return int(read(f'/proc/{pid}/schedstat').split()[0]) / 1e9


def cpu_share(pid, seconds):
	"""CPU time that a process uses in that time from now, as a share of it."""
	before, began = cpu_seconds(pid), time.monotonic()
	time.sleep(seconds)  # this is the measurement
	return (cpu_seconds(pid) - before) / (time.monotonic() - began)


def counters(master, balancer):
	"""{name: value} of what a balancer counts: its row in the shared tally
	(balancer/board/tally.h), which begins on a page with 1 and its pid."""
	with open(os.path.join(ROOT, 'balancer', 'board', 'counters.def'), encoding='utf-8') as f:
		names = re.findall(r'^COUNTER\((\w+)', f.read(), re.M)
	fd = next(fd for fd, what in descriptors(master).items() if 'tally' in what)
	with open(f'/proc/{master}/fd/{fd}', 'rb') as f:
		while page := f.read(4096):
			if page.startswith(struct.pack('=Ii', 1, balancer)):
				return dict(zip(names, struct.unpack_from(f'={len(names)}Q', page, 8)))
	raise AssertionError(f'balancer {balancer} has no row')


def descriptors(pid):
	"""{fd: what it is}, as /proc names it."""
	found = {}
	try:
		for fd in os.listdir(f'/proc/{pid}/fd'):
			try:
				found[int(fd)] = os.readlink(f'/proc/{pid}/fd/{fd}')
			except FileNotFoundError:
				pass
	except (FileNotFoundError, PermissionError):
		pass
	return found


def tcp_sockets():
	"""{inode: (local port, remote port, state)}.  Asked of the kernel by
	sock_diag(7), which leaves out those in TIME-WAIT: in /proc/net/tcp, which tells the same, a load run leaves tens of
	thousands of them, and a look takes 0.1 s."""
	wanted = 0xfff & ~(1 << 6)
	found = {}
	with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as s:
		for family in (socket.AF_INET, socket.AF_INET6):
			request = struct.pack('=4BI48x', family, socket.IPPROTO_TCP, 0, 0, wanted)
			s.send(struct.pack('=IHHII', 16 + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 0, 0) + request)
			while found_in_answer(s.recv(1 << 16), found):
				pass
	return found


def found_in_answer(answer, found):
	"""Adds the sockets of one message of sock_diag; false at the end of the list."""
	at = 0
	while at < len(answer):
		length, kind = struct.unpack_from('=IH', answer, at)
		assert kind != NLMSG_ERROR, struct.unpack_from('=i', answer, at + 16)
		if kind == NLMSG_DONE:
			return False
		state, inode = answer[at + 17], struct.unpack_from('=I', answer, at + 84)[0]
		found[str(inode)] = (*struct.unpack_from('>HH', answer, at + 20), state)
		at += length + 3 & ~3
	return True


def unix_sockets():
	"""{inode: path} of the named ones."""
	found = {}
	for line in read('/proc/net/unix').splitlines()[1:]:
		f = line.split(None, 7)
		found[f[6].decode()] = f[7].decode('utf-8', 'replace') if len(f) > 7 else ''
	return found


def sockets():
	return tcp_sockets(), unix_sockets()


def descriptor_kinds(pid, listen_ports, tables=None):
	"""Counts a process's descriptors by kind.  Connections are told apart: those of
	clients, and those to somewhere else.  `tables`: of sockets(), to share one look."""
	tcp, unix = tables or sockets()
	kinds = Counter()
	for target in descriptors(pid).values():
		if once := next((w for w in ('/schedstat', '/memfd:drover-state') if w in target), None):
			kinds[once] += 1
			continue
		if target.startswith('socket:['):
			inode = target[8:-1]
			if inode in tcp:
				local, _, state = tcp[inode]
				if state == TCP_LISTEN:
					kinds['listening TCP socket'] += 1
				elif local in listen_ports:
					kinds['connection of a client'] += 1
				else:
					kinds['connection to a worker'] += 1
			elif inode in unix:
				kinds['named Unix socket' if unix[inode] else 'Unix socket'] += 1
			else:
				kinds['socket without a connection'] += 1
		else:
			kinds[re.sub(r'\d+', 'N', target.split(' ')[0]) if ':' in target else 'file ' + target] += 1
	# From soon after the start on a process holds one of these, for as long as it lives.
	return kinds - Counter({'/schedstat': 1, '/memfd:drover-state': 1})


def free_port():
	"""A port the kernel picked, once in the life of this process."""
	while True:
		with socket.socket() as s:
			s.bind(('127.0.0.1', 0))
			port = s.getsockname()[1]
		if port not in _used_ports:
			_used_ports.add(port)
			return port
