"""What a blow excuses, and what nothing does.

The rules are narrow on purpose.  An incident is excused only by a blow that can
have caused it: by the death of the very balancer that held the connection, of
the very worker that was recorded as having got the request.  See README.md.
"""
import os
from collections import defaultdict


class Blows:
	"""What was done to drover that may cost a request."""

	def __init__(self):
		self.ports = []        # (time, clients' ports that a killed balancer held)
		self.workers = {}      # pid: time of its kill
		self.changes = []      # times from which on workers may be drained
		self.stopped = None    # time of the SIGTERM

	def port_lost(self, port, opened, ended):
		return any(port in ports and opened <= when <= ended for when, ports in self.ports)

	def kills(self, began, ended):
		return [pid for pid, when in self.workers.items() if began - 0.5 <= when <= ended]


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
	delivered to; `drain`: seconds of stop.drain."""
	if blows.stopped and not i.status and blows.stopped < i.sent:
		return 'drover was asked to stop before it had the whole request'
	if i.never:
		return None
	if not i.status and blows.port_lost(i.port, i.opened, i.ended):
		return 'its balancer was killed'
	if i.method == 'TUNNEL':
		if blows.port_lost(i.port, i.opened, i.ended):
			return 'its balancer was killed'
		if i.pid in blows.workers:
			return 'its worker was killed'
		if any(i.ended >= t + drain for t in blows.changes):
			return 'stop.drain had passed'
		return None
	if i.pid:  # the head of the reply had come
		return 'its worker was killed in mid-reply' if i.pid in blows.workers else None
	killed = [pid for pid in got if pid in blows.workers]
	if i.status == 502 or not i.status:
		if i.again:
			# Two second sends, so three workers.
			return 'three workers died under it' if i.status and len(killed) >= 3 else None
		if killed:
			return 'its worker was killed'
		if not got and blows.kills(i.began, i.ended):
			return 'a worker was killed, before it recorded what it got'
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
