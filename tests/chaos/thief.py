"""Another program on the machine, which happens to want the port that drover has
just chosen for a worker.  What is sent to it was meant for somebody else."""
import socket
import threading
import time

import look


class Thief:
	def __init__(self):
		self.thread, self.stolen, self.got = None, [], []

	def steal(self, master, seconds):
		self.wait()
		self.thread = threading.Thread(target=self.run, args=(master, time.monotonic() + seconds), daemon=True)
		self.thread.start()

	def wait(self):
		if self.thread:
			self.thread.join()
			self.thread = None

	def run(self, master, end):
		held, seen = [], set()
		try:
			while time.monotonic() < end:
				for slot in look.roster(master) or ():
					if slot.state == 'STARTING' and slot.port and slot.port not in seen:
						seen.add(slot.port)
						if s := self.bind(slot.port):
							held.append(s)
							self.stolen.append(slot.port)
				for s in held:
					self.accept(s)
				time.sleep(0.002)
		except OSError:
			pass  # the master has gone
		for s in held:
			s.close()

	@staticmethod
	def bind(port):
		s = socket.socket()
		try:
			s.bind(('127.0.0.1', port))
			s.listen(64)
			s.settimeout(0)
			return s
		except OSError:
			s.close()
			return None

	def accept(self, s):
		try:
			connection = s.accept()[0]
		except OSError:
			return
		with connection:
			connection.settimeout(0.05)
			try:
				if data := connection.recv(4096):
					self.got.append(data)
			except OSError:
				pass
