"""Workers that are past their memory, requests or age, and workers that hang: replaced,
one at a time, while nothing is lost."""
import os
import re
import signal
import time

import pytest

from drover import QUICK
from test_rollout import lost_nothing, one_generation, vital

pytestmark = pytest.mark.release


def replaced(drover, key):
	return len(re.findall(rf'is past recycle\.{key} ', drover.log()))


def watch_processes(drover, until, what):
	"""The most workers that there were at a time until then."""
	peak = 0

	def look():
		nonlocal peak
		peak = max(peak, len(drover.workers()))
		return until()
	drover.wait(look, what, timeout=40)
	return peak


def test_requests(drover, steady):
	drover.start(drover.config({'recycle': {'requests': 300}}))
	client = steady(('127.0.0.1', drover.port), '/instance')
	peak = watch_processes(drover, lambda: replaced(drover, 'requests') >= 4, 'four are replaced')
	lost_nothing(client)
	assert peak == 3, 'one at a time, the new one first'
	drover.wait(lambda: len(drover.workers()) == 2, 'two again')
	counts = [int(n) for n in re.findall(r'past recycle\.requests \((\d+) requests\)', drover.log())]
	assert min(counts) >= 270 and 'is that too low?' in drover.log()


def test_age(drover, steady):
	drover.start(drover.config({'recycle': {'age': '2s'}}))
	client = steady(('127.0.0.1', drover.port), '/instance')
	first = {w.pid for w in drover.workers()}
	drover.wait(lambda: not first & {w.pid for w in drover.workers()}, 'all are replaced', timeout=40)
	lost_nothing(client)
	ages = [float(n) for n in re.findall(r'past recycle\.age \(([\d.]+) s old\)', drover.log())]
	assert min(ages) >= 1.8


def test_memory(drover, steady):
	drover.start(vital(drover, recycle={'memory': '120MiB'}))
	client = steady(('127.0.0.1', drover.port))
	old = drover.worker(0).pid
	while drover.get('/leak?150').text.split()[1] != str(old):
		pass
	line = drover.wait_log(r'worker 0 \(pid \d+\) is past recycle\.memory \((\d+) MiB resident\): it is replaced')
	assert 120 <= int(line[1]) < 400
	drover.wait(lambda: old not in [w.pid for w in drover.workers()], 'it is gone')
	lost_nothing(client)


def test_request_in_flight_is_finished(drover):
	drover.start(vital(drover, instances=1, recycle={'requests': 3}))
	with drover.connect() as c:
		c.request(target='/slow?3')
		for _ in range(3):
			drover.get()
		drover.wait_log('past recycle.requests')
		first = drover.worker().pid
		drover.wait(lambda: drover.get().text.split()[1] != str(first), 'a new one answers')
		reply = c.reply()
		assert reply.status == 200 and reply.text.split()[1] == str(first)
	drover.wait(lambda: [w.pid for w in drover.workers()].count(first) == 0, 'then it goes')


def test_successor_that_does_not_come_leaves_the_old_one(drover, steady):
	"""The program has become one that does not start: who runs stays."""
	script = drover.path('app.sh')
	with open(script, 'w', encoding='ascii') as f:
		f.write('#!/bin/sh\nexec /usr/bin/python3 "$0.py"\n')
	os.chmod(script, 0o755)
	source = vital(drover)['apps']['app']['command'][-1]
	with open(source, encoding='utf-8') as f, open(script + '.py', 'w', encoding='utf-8') as to:
		to.write(f.read())
	config = vital(drover, recycle={'age': '2s'})
	config['apps']['app']['command'] = [script]
	drover.start(config)
	with open(script, 'w', encoding='ascii') as f:
		f.write('#!/bin/sh\nexit 5\n')
	client = steady(('127.0.0.1', drover.port))
	# Where a start takes as long as they live, one has been replaced already; but one at a time.
	drover.wait_log('ended before it was ready: exit status 5', timeout=40)
	old = {w.pid for w in drover.workers() if drover.accepts(w)}
	drover.wait(lambda: drover.log().count('exit status 5') >= 4, 'it is tried again')
	assert len(old) == 2 and old <= {w.pid for w in drover.workers()}
	lost_nothing(client)


def test_worker_that_hangs(drover, steady):
	"""Nothing is answered any more by one of two: taken out after three requests in vain."""
	config = vital(drover, stop={'grace': '1s'})
	config['timeouts'] = {'response': '1s'}
	drover.start(config)
	old = {str(w.instance): w.pid for w in drover.workers()}
	clients = [drover.connect() for _ in range(2)]
	clients[0].request(target='/hang')
	hangs = (r'worker (\d) \(pid \d+\) hangs: no reply to any of its last requests within 1\.0 s; .*state S \(sleeping\), '
			       r'CPU \d+ % of a core.*its successor starts at once')

	def found():
		if len(clients) < 100:  # requests go on coming
			c = drover.connect()
			c.request()
			clients.append(c)
		return re.search(hangs, drover.log())
	line = drover.wait(found, 'it is found out')
	drover.wait(lambda: old[line[1]] not in [w.pid for w in drover.workers()], 'it is gone')
	other = old[str(1 - int(line[1]))]
	assert other in [w.pid for w in drover.workers()], 'the other one stays'
	for c in clients:
		c.close()
	client = steady(('127.0.0.1', drover.port))
	drover.wait(lambda: len(client.replies) > 30, 'replies since')
	lost_nothing(client)


def test_slow_requests_among_others_are_no_hanging(drover, steady):
	config = vital(drover)
	config['timeouts'] = {'response': '1s'}
	drover.start(config)
	client = steady(('127.0.0.1', drover.port))
	slow = [drover.connect() for _ in range(8)]
	for c in slow:
		c.request(target='/slow?1.5')
	assert [c.head().status for c in slow] == [504] * 8
	time.sleep(1.2)  # a look at each worker
	assert 'hangs' not in drover.log()
	lost_nothing(client)


@pytest.mark.load
def test_nothing_is_lost_under_load(drover, wrk):
	"""Recycling all the time, reloads and kills in between."""
	seconds = 4 if QUICK else 6
	drover.start(drover.config({'recycle': {'requests': 5000, 'age': '3s'}, 'instances': 3, 'rollout': {'surge': 2}}))
	run = wrk(drover.url('/instance'), seconds)
	time.sleep(seconds / 3)
	drover.signal(signal.SIGHUP)
	time.sleep(seconds / 3)
	drover.worker(1).kill()
	run.result().nothing_lost()
	assert replaced(drover, '(requests|age)') >= 1
	drover.descriptors_kept = False
	one_generation(drover)
