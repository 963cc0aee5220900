"""What can be done to drover: a table of actions, each with what it takes to do it,
what it does, and what is then to be expected of drover.

An action is a function of a run (run.Run) and the words behind its name in the
plan.  What it does to the expectation it tells run.expect (an Expectation).
Words that name a process are fractions: 0.5 is the one in the middle of those
that are there at that moment, so that a plan can be made before anything runs.
"""
import os
import time
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2

import admin
import procs
from clients import hanging

# ---- what is expected --------------------------------------------------------


class Expectation:
	"""What drover should come to once it is left alone: one of `states`, which are
	(configuration, instances).

	There are several when something may make a reload fail that is not its fault, or
	when what comes first decides.  `calm_states` is what was there before the burst; and what a
	reload would have come to that another one followed: it may have served before that one did."""

	def __init__(self, config):
		self.calm(config, config.instances)

	def calm(self, config, instances):
		self.states = self.calm_states = {(config, instances)}
		self.unheard = set(), set()          # the same two, without the signals since then
		self.moving = False                  # a reload since then
		self.balancers = {config.balancers}  # of any generation since then

	def reload(self, config):
		self.balancers.add(config.balancers)
		if config.start == 'refuse':
			# Its balancers come, its workers don't.
			if not self.moving:
				self.states = set()
			self.states |= self.kept({config.balancers})
		else:
			if self.moving:
				self.calm_states = self.calm_states | self.states
			self.states = {(config, config.instances)}
		self.moving = True

	def kept(self, balancers):
		"""The release of before, with as many workers as it has, or is configured to have."""
		return {(c.but(balancers=b), n) for c, had in self.calm_states for n in (had, c.instances) for b in balancers}

	def disturbed(self):
		"""A process ends that a reload may have needed."""
		if self.moving:
			self.states = self.states | self.kept(self.balancers)

	def upgraded(self, filed):
		"""The new program reads the file, which may say something else than what is in force: a
		release that failed is tried again."""
		self.balancers.add(filed.balancers)
		if filed.start == 'refuse':
			self.states = self.states | self.kept({filed.balancers})
			self.moving = True
		elif filed not in {c for c, _ in self.states}:
			self.states = self.states | {(filed, filed.instances)}
			self.moving = True

	def succeeded(self, filed):
		"""Another master takes over: what the file says follows, a signal that was on its way is lost with the one before."""
		self.states, self.calm_states = self.states | self.unheard[0], self.calm_states | self.unheard[1]
		self.disturbed()
		self.upgraded(filed)

	def scale(self, number, sure=True):
		"""`number(n)`: what becomes of n workers.  Not `sure`: it may not have been heard."""
		def changed(states):
			return {(c, max(1, number(n))) for c, n in states}
		self.unheard = self.unheard[0] | self.states, self.unheard[1] | self.calm_states
		if self.moving or not sure:
			self.states = self.states | changed(self.states)
			self.calm_states = self.calm_states | changed(self.calm_states)
		else:
			self.states = self.calm_states = changed(self.states)


# ---- helpers -----------------------------------------------------------------


def one_of(these, fraction):
	return these[min(int(float(fraction) * len(these)), len(these) - 1)] if these else None


def held_ports(pid, public):
	"""Ports of the clients whose connections a balancer holds; it must be stopped."""
	tcp = {f'socket:[{inode}]': remote for inode, (local, remote, _) in procs.tcp_sockets().items() if local == public}
	return {tcp[what] for what in procs.descriptors(pid).values() if what in tcp}


def stop_and_wait(pid):
	os.kill(pid, SIGSTOP)
	end = time.monotonic() + 5
	while (s := procs.stat(pid)) and s.state not in 'TZX' and time.monotonic() < end:
		time.sleep(0.001)


# ---- the actions -------------------------------------------------------------


def reload(run, *changes):
	config = run.filed = run.next_config(changes)
	run.d.write_config(run.whole(config))
	run.hang_up()
	run.expect.reload(config)
	run.blows.changes.append(time.monotonic())


BAD_CONFIGS = {
	'syntax': lambda text: text.replace('{', '[', 1),
	'empty': lambda text: '',
	'unknown-key': lambda text: text.replace('"balancers"', '"balancer"'),
	'range': lambda text: text.replace('"balancers": ', '"balancers": -'),
	'no-command': lambda text: text.replace('/usr/bin/python3', '/usr/bin/python-that-is-not-there'),
	'address': lambda text: text.replace('127.0.0.1:', '127.0.0.257:'),
	'junk': lambda text: 'a: \x01\x02' * 100,
	'missing': None,
}


def bad_reload(run, kind):
	"""The file has an error: nothing changes, and it is said.  A reload that was not through
	its first step is given up with it."""
	run.wait_heir()  # one that starts refuses such a file
	run.expect.disturbed()
	with open(run.d.config_file, encoding='utf-8') as f:
		good = f.read()
	told = run.d.log().count('nothing has changed')
	if BAD_CONFIGS[kind]:
		run.d.write_config(BAD_CONFIGS[kind](good) or '\n')
	else:
		os.unlink(run.d.config_file)
	try:
		run.hang_up()
		run.d.wait(lambda: run.d.log().count('nothing has changed') > told, f'the error ({kind}) is reported')
	finally:
		run.d.write_config(good)


def scale(run, way):
	# A SIGCONT takes pending SIGTTIN and SIGTTOU away, as POSIX wants it: to a master that stands still they are lost.
	run.d.wait(lambda: procs.stat(run.d.pid).state not in 'T', 'the master is not paused')
	run.signal(SIGTTIN if way == 'up' else SIGTTOU)
	by = 1 if way == 'up' else -1
	run.expect.scale(lambda n: n + by)
	run.blows.changes.append(time.monotonic())


def order(run, path, body=None):
	"""A command over the admin channel: its status, 0 when nobody answered, since the monitor was killed."""
	run.blows.changes.append(time.monotonic())
	try:
		return admin.ask(run.d, 'POST', path, body).status
	except (OSError, ValueError, IndexError):
		return 0


def scale_to(run, n):
	"""May have been heard though nobody answered."""
	n = int(n)
	status = order(run, '/api/v1/apps/app/scale', {'instances': n})
	if status in (0, 200, 202):
		run.expect.scale(lambda _: n, sure=status != 0)
	return f'status {status}'


def restart(run):
	"""The configuration in force once more: a release like another, with as many workers as there are."""
	return f"status {order(run, '/api/v1/apps/app/restart')}"


def drain(run, fraction):
	"""A worker is taken out; its successor starts at once."""
	worker = one_of(run.d.workers(), fraction)
	if not worker:
		return None
	run.expect.disturbed()
	return f"{worker}: status {order(run, f'/api/v1/apps/app/workers/{worker.instance}/drain')}"


def upgrade(run, way):
	"""The same program takes the running one's place: the workers stay, the balancers are a new generation."""
	run.expect.upgraded(run.filed)
	run.log_before_upgrade = len(run.d.log())
	run.blows.changes.append(time.monotonic())
	if way == 'signal':
		run.signal(SIGUSR2)
		return None
	status = order(run, '/api/v1/upgrade')
	if status != 202:  # not heard; or heard, and the channel died: then the next calm finds it done all the same
		run.log_before_upgrade = None
	return f'status {status}'


def hang_request(run):
	"""One request that is never answered costs nobody else anything; it is told 504."""
	run.crowd.guest(hanging)


def hang_worker(run, fraction):
	"""Stops, and does not go on: it is found out, and replaced.  One that starts would have until ready.timeout."""
	worker = one_of([w for w in run.d.workers() if run.d.accepts(w)], fraction)
	if worker:
		run.blows.hung[worker.pid] = time.monotonic()
		run.expect.disturbed()
		run.kill(worker.pid, SIGSTOP)
		run.hung.append(worker.pid)
	return worker


def strike_worker(run, fraction, signum):
	worker = one_of(run.d.workers(), fraction)
	if worker:
		run.blows.workers[worker.pid] = time.monotonic()
		run.expect.disturbed()
		run.kill(worker.pid, signum)
	return worker


def kill_worker(run, fraction):
	return strike_worker(run, fraction, SIGKILL)


def term_worker(run, fraction):
	"""By somebody who is not drover; the application ends at once."""
	return strike_worker(run, fraction, SIGTERM)


def kill_balancer(run, fraction):
	"""Also one of an old generation.  It is stopped first, to see which connections go with it."""
	pid = one_of(run.d.balancers(), fraction)
	if not pid:
		return None
	run.dying.add(pid)  # the end of a pause must not let it accept after the look
	stop_and_wait(pid)
	ports = held_ports(pid, run.d.port)
	run.blows.ports.append((time.monotonic(), ports))
	run.expect.disturbed()
	run.kill(pid, SIGKILL)
	return f'{pid}, which held {len(ports)} connections'


def kill_warden(run):
	run.wait_heir()
	pid = one_of(run.d.wardens(), 0)
	if pid:
		run.kill(pid, SIGKILL)
		procs.wait_until(lambda: not procs.alive(pid), 5, 'the warden dies')  # it is not taken for one that stands by
	return pid


def kill_monitor(run):
	pid = one_of(run.d.monitors(), 0)
	if pid:
		run.kill(pid, SIGKILL)
	return pid


def kill_master(run, seconds):
	"""Another one is started a while later, as the first was.  The warden holds what it takes over: without one there
	is nothing left, so one that has just been killed is waited for."""
	run.d.wait(run.warden_stands_by, 'a warden stands by')
	old = run.d.pid
	for w in run.d.workers():
		# With its parent the kernel sends SIGHUP to a process group that stands still (setpgid(2)).
		if (s := procs.stat(w.pid)) and s.state == 'T':
			run.blows.workers[w.pid] = time.monotonic()
	run.d.kill_master()
	run.expect.succeeded(run.filed)
	run.blows.changes.append(time.monotonic())
	run.log_before, run.log_before_upgrade = 0, None
	time.sleep(float(seconds))
	run.start_heir(old)
	return f'{old}, then {run.d.pid}'


def pause(run, pid, seconds):
	"""A process stands still for a while, and nobody may lose anything by it."""
	if pid:
		start = procs.stat(pid)
		run.kill(pid, SIGSTOP)
		# Not one that is being killed, nor a worker that stands still for good.
		run.later(float(seconds), lambda: pid not in run.dying and pid not in run.hung and procs.stat(pid) and
			  procs.stat(pid).start == start.start and run.kill(pid, SIGCONT))
	return pid


def pause_worker(run, fraction, seconds):
	worker = one_of(run.d.workers(), fraction)
	return pause(run, worker and worker.pid, seconds)


def pause_balancer(run, fraction, seconds):
	return pause(run, one_of(run.d.balancers(), fraction), seconds)


def pause_monitor(run, seconds):
	return pause(run, one_of(run.d.monitors(), 0), seconds)


def pause_master(run, seconds):
	return pause(run, run.d.pid, seconds)


def steal_port(run, seconds):
	"""Somebody else binds the ports of starting workers before they do, and listens there."""
	run.expect.disturbed()
	run.thief.steal(run.d.pid, float(seconds))


def jump_clock(run, seconds):
	"""The wall clock jumps; every wait of drover is by the monotonic one."""
	if not run.clock:
		return 'not on this build'
	run.clock_offset += int(seconds)
	run.set_clock()
	return None


def reopen_logs(run):
	if os.path.exists(run.d.access_file):
		os.rename(run.d.access_file, run.d.access_file + '.1')
	run.signal(SIGUSR1)


def wait_calm(run):
	run.wait_calm()


# ---- the table ---------------------------------------------------------------


def fraction(rng):
	return f'{rng.random():.2f}'


def change_words(rng):
	words = []
	if rng.random() < 0.4:
		words.append(f'instances={rng.randint(1, 4)}')
	if rng.random() < 0.4:
		words.append(f'balancers={rng.randint(1, 3)}')
	if rng.random() < 0.2:
		words.append(f'start=delay:{rng.choice((0.3, 0.8))}')
	if rng.random() < 0.1:
		words.append('bind=' + rng.choice(('port', 'unix')))
	return words


# name: (function, how often, its words)
ACTIONS = {
	'reload': (reload, 5, change_words),
	'failed-release': (lambda run: reload(run, 'start=refuse'), 1, lambda rng: []),
	'bad-reload': (bad_reload, 1, lambda rng: [rng.choice(sorted(BAD_CONFIGS))]),
	'scale': (scale, 2, lambda rng: [rng.choice(('up', 'down'))]),
	'scale-to': (scale_to, 1, lambda rng: [str(rng.randint(1, 4))]),
	'restart': (restart, 1, lambda rng: []),
	'drain': (drain, 1, lambda rng: [fraction(rng)]),
	'upgrade': (upgrade, 2, lambda rng: [rng.choice(('signal', 'command'))]),
	'hang-request': (hang_request, 1, lambda rng: []),
	'hang-worker': (hang_worker, 1, lambda rng: [fraction(rng)]),
	'kill-worker': (kill_worker, 4, lambda rng: [fraction(rng)]),
	'term-worker': (term_worker, 1, lambda rng: [fraction(rng)]),
	'kill-balancer': (kill_balancer, 3, lambda rng: [fraction(rng)]),
	'kill-master': (kill_master, 2, lambda rng: [str(rng.choice((0, 0, 0.05, 1)))]),
	'kill-warden': (kill_warden, 1, lambda rng: []),
	'kill-monitor': (kill_monitor, 1, lambda rng: []),
	'pause-monitor': (pause_monitor, 1, lambda rng: [f'{rng.uniform(0.1, 1.0):.2f}']),
	'pause-worker': (pause_worker, 1, lambda rng: [fraction(rng), f'{rng.uniform(0.1, 1.0):.2f}']),
	'pause-balancer': (pause_balancer, 1, lambda rng: [fraction(rng), f'{rng.uniform(0.1, 1.0):.2f}']),
	'pause-master': (pause_master, 1, lambda rng: [f'{rng.uniform(0.1, 1.0):.2f}']),
	'steal-port': (steal_port, 1, lambda rng: [f'{rng.uniform(0.2, 0.8):.2f}']),
	'jump-clock': (jump_clock, 1, lambda rng: [str(rng.choice((-86400, -3600, -30, 30, 3600, 86400 * 400)))]),
	'reopen-logs': (reopen_logs, 1, lambda rng: []),
	'calm': (wait_calm, 0, lambda rng: []),
}


def make_plan(rng, bursts):
	"""[(seconds to wait before, name, words)], `calm` after each burst."""
	names = list(ACTIONS)
	weights = [ACTIONS[n][1] for n in names]
	plan = []
	for _ in range(bursts):
		for n in range(rng.randint(1, 4)):
			name = rng.choices(names, weights)[0]
			plan.append((rng.choice((0, 0.01, 0.05, 0.2, 0.5)) if n else rng.uniform(0.1, 0.5), name, ACTIONS[name][2](rng)))
		plan.append((0, 'calm', []))
	return plan


def plan_text(plan):
	return '; '.join(' '.join([f'+{wait:.2f}', name, *words]) for wait, name, words in plan)


def plan_of(text):
	plan = []
	for part in text.split(';'):
		wait, name, *words = part.split()
		if name not in ACTIONS or not wait.startswith('+'):
			raise SystemExit(f'chaos: no such step: {part.strip()}')
		plan.append((float(wait[1:]), name, words))
	return plan
