"""What a blow excuses, and what nothing does.

The rules are narrow on purpose.  An incident is excused only by a blow that can
have caused it: by the death of the very balancer that held the connection, of
the very worker that was recorded as having got the request.  See README.md.
"""
import os
from collections import Counter, defaultdict


RESPONSE_SECONDS = 5.0  # timeouts.response
# From when a worker hangs until its connections are gone: three requests in vain, which may take one
# timeout more where few were in flight, and stop.grace.  So a client may lose three.
HUNG_SECONDS, HUNG_MOST = 20.0, 3


class Blows:
	"""What was done to drover that may cost a request."""

	def __init__(self):
		self.ports = []        # (time, clients' ports that a killed balancer held)
		self.workers = {}      # pid: time of its kill
		self.hung = {}         # pid: time since which it hangs
		self.changes = []      # times from which on workers may be drained
		self.stopped = None    # time of the SIGTERM
		self.charged = Counter()

	def charge(self, i, why, *blow, most=1):
		"""A client has one request at a time, so one blow costs it one: what more it lost, that blow does not excuse."""
		self.charged[(i.client, *blow)] += 1
		return why if self.charged[(i.client, *blow)] <= most else None

	def balancer_killed(self, i):
		for when, ports in self.ports:
			if i.port in ports and i.opened <= when <= i.ended:
				return self.charge(i, 'its balancer was killed', 'balancer', when, i.port)
		return None

	def killed_at_that_time(self, i):
		"""A worker that was, and for which this client has not been excused yet."""
		return next((pid for pid, when in self.workers.items()
			     if i.began - 0.5 <= when <= i.ended and not self.charged[(i.client, 'worker', pid)]), None)


def deliveries(folder):
	"""{id: [(method, pid of the worker that got it)]}"""
	found = defaultdict(list)
	for pid in os.listdir(folder):
		with open(os.path.join(folder, pid), encoding='utf-8') as f:
			for line in f:
				method, name = line.split()
				found[name].append((method, int(pid)))
	return found


def excuse(i, blows, got, drain):
	"""Why the incident was to be expected, or None.  `got`: pids of the workers that it was
	delivered to; `drain`: seconds of stop.drain.  What excuses it is noted in `blows`."""
	if blows.stopped and not i.status and blows.stopped < i.sent:
		return 'drover was asked to stop before it had the whole request'
	if i.never:
		return None
	if i.method == 'TUNNEL' or not i.status:
		if why := blows.balancer_killed(i):
			return why
	if i.method == 'TUNNEL':
		if i.pid in blows.workers:
			return blows.charge(i, 'its worker was killed', 'worker', i.pid)
		if i.pid in blows.hung:
			return blows.charge(i, 'its worker hung', 'hung', i.pid)
		past = [t for t in blows.changes if i.ended >= t + drain]
		return blows.charge(i, 'stop.drain had passed', 'drain', past[-1]) if past else None
	if why := hung(i, blows, got):
		return why
	if i.pid:  # the head of the reply had come
		return blows.charge(i, 'its worker was killed in mid-reply', 'worker', i.pid) if i.pid in blows.workers else None
	killed = [pid for pid in got if pid in blows.workers]
	if i.status == 502 or not i.status:
		if i.again:
			# Two second sends, so three workers.
			return blows.charge(i, 'three workers died under it', 'workers', *killed) if i.status and len(killed) >= 3 else None
		if killed:
			return blows.charge(i, 'its worker was killed', 'worker', killed[-1])
		if not got and (pid := blows.killed_at_that_time(i)):
			return blows.charge(i, 'a worker was killed, before it recorded what it got', 'worker', pid)
	return None


def hung(i, blows, got):
	"""A worker that stands still takes requests and answers none: 504 after timeouts.response; and what it
	has when it is found out and ended is lost with it.  What it got before shows no pid of another."""
	for pid, since in blows.hung.items():
		holds = i.pid == pid if i.pid else pid in got or not got
		late = i.status == 504 and i.ended - i.sent >= RESPONSE_SECONDS - 0.5
		ended = i.status == 502 and not i.again
		if holds and since <= i.ended and i.began <= since + HUNG_SECONDS and (late or ended or i.pid == pid):
			if why := blows.charge(i, 'its worker hung', 'hung', pid, most=HUNG_MOST):
				return why
	return None


def post_faults(posts, sent, delivered):
	"""Lines about ids that were delivered more than once, to nobody, to somebody else, or never sent.
	`posts`: what was known before the deliveries were read; `sent`: after it."""
	faults = []
	for name, by in posts.items():
		got = delivered.get(name, [])
		if len(got) > 1:
			faults.append(f'POST {name} was delivered {len(got)} times: {got}')
		if by and [pid for _, pid in got] != [by]:
			faults.append(f'POST {name} was answered by worker {by}, but delivered to {got}')
	for name, got in delivered.items():
		if name not in sent and any(method == 'POST' for method, _ in got):
			faults.append(f'POST {name} was delivered to {got}, and sent by nobody')
	return faults
