"""Load: wrk as a client that counts every failure, and a small counting client of our own."""
import random
import re
import subprocess
import tempfile
import threading
import time

from wire import Client, WireError

_UNITS = {'us': 1e-3, 'ms': 1.0, 's': 1e3, 'm': 6e4}


def _ms(text):
	number, unit = re.match(r'([\d.]+)(us|ms|s|m)', text).groups()
	return float(number) * _UNITS[unit]


class LoadResult:
	def __init__(self, output):
		self.output = output
		self.requests = int(re.search(r'(\d+) requests in', output)[1])
		errors = re.search(r'Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)', output)
		self.socket_errors = sum(map(int, errors.groups())) if errors else 0
		bad = re.search(r'Non-2xx or 3xx responses: (\d+)', output)
		self.bad_replies = int(bad[1]) if bad else 0
		self.p50_ms, self.p99_ms = (_ms(re.search(rf'^\s+{p}%\s+(\S+)', output, re.M)[1]) for p in (50, 99))

	def nothing_lost(self):
		assert self.requests > 0, self.output
		assert not self.socket_errors and not self.bad_replies, \
			f'{self.socket_errors} socket errors, {self.bad_replies} bad replies of {self.requests}:\n{self.output}'


class Wrk:
	"""One wrk run in the background; result() waits for its end."""

	def __init__(self, url, seconds, connections=64, headers=()):
		self.seconds = seconds
		command = ['wrk', '-t1', f'-c{connections}', f'-d{seconds}s', '--latency']
		for name, value in headers:
			command += ['-H', f'{name}: {value}']
		self.out = tempfile.TemporaryFile('w+')
		self.process = subprocess.Popen(command + [url], stdout=self.out, stderr=subprocess.STDOUT,
						stdin=subprocess.DEVNULL)

	@property
	def running(self):
		return self.process.poll() is None

	def result(self):
		try:
			self.process.wait(self.seconds + 15)
		except subprocess.TimeoutExpired:
			self.process.kill()
			self.process.wait()
			raise AssertionError('wrk did not end') from None
		self.out.seek(0)
		output = self.out.read()
		self.out.close()
		assert self.process.returncode == 0, output
		return LoadResult(output)

	def stop(self):
		if self.running:
			self.process.kill()
			self.process.wait()


class Steady:
	"""Threads that ask one request after another until stopped, and keep every
	reply that was not a 200 and every error with its kind.  Each thinks a moment between
	two: it is to be there at every phase of what happens, not to take the processor from it."""

	THINKING_S = 0.006  # at most

	def __init__(self, address, target='/', threads=4, keep_alive=True, method='GET', body=None):
		self.address, self.target, self.keep_alive = address, target, keep_alive
		self.method, self.body = method, body
		self.replies, self.failures = [], []
		self.stopping = threading.Event()
		self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
		for t in self.threads:
			t.start()

	def _run(self):
		client = None
		while not self.stopping.is_set():
			try:
				client = client or Client(self.address)
				headers = () if self.keep_alive else (('Connection', 'close'),)
				reply = client.ask(self.method, self.target, headers, self.body)
				self.replies.append(reply.text)
				if reply.status != 200:
					self.failures.append(repr(reply))
				if reply.closes:
					client.close()
					client = None
				time.sleep(random.uniform(0, self.THINKING_S))
			except (OSError, WireError) as e:
				self.failures.append(f'{type(e).__name__}: {e}')
				if client:
					client.close()
				client = None
		if client:
			client.close()

	def stop(self):
		self.stopping.set()
		for t in self.threads:
			t.join(30)
			assert not t.is_alive(), 'a client hangs'
		return self
