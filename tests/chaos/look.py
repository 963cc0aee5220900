"""The roster of a running drover (balancer/board/roster.h), read as anybody may who
has its descriptor."""
import os
import re
import socket
import struct
from collections import namedtuple

import procs

Slot = namedtuple('Slot', 'pid app release instance state port')

HEADER = struct.Struct('=QQII')
APPS, APP_BYTES = 64, 80
SLOT = struct.Struct('=QQQiIIIII')
SLOT_BYTES = SLOT.size + 112 + 4 + 4  # struct addr, padded

with open(os.path.join(procs.ROOT, 'balancer', 'board', 'worker_states.def'), encoding='utf-8') as f:
	STATES = re.findall(r'^WSTATE\((\w+)', f.read(), re.M)


def roster(master):
	"""The slots in use, or None while the master writes."""
	fd = next((fd for fd, what in procs.descriptors(master).items() if 'drover-roster' in what), None)
	if fd is None:
		return None
	with open(f'/proc/{master}/fd/{fd}', 'rb') as f:
		data = f.read()
	_, version, n_slots, _ = HEADER.unpack_from(data)
	if len(data) != HEADER.size + APPS * APP_BYTES + 1024 * SLOT_BYTES:
		raise AssertionError(f'the roster has {len(data)} bytes: its layout has changed, look.py has not')
	if version % 2 or version != HEADER.unpack_from(data)[1]:
		return None
	found = []
	for n in range(n_slots):
		at = HEADER.size + APPS * APP_BYTES + n * SLOT_BYTES
		_, _, _, pid, app, release, instance, _, state = SLOT.unpack_from(data, at)
		family, port = struct.unpack_from('=H', data, at + SLOT.size)[0], struct.unpack_from('>H', data, at + SLOT.size + 2)[0]
		if STATES[state] != 'EMPTY':
			found.append(Slot(pid, app, release, instance, STATES[state], port if family == socket.AF_INET else 0))
	return found


def in_flight(master):
	"""Requests in flight, over the rows of all balancers."""
	total = 0
	for pid in procs.children(master):
		if procs.command_line(pid).startswith('drover: balancer'):
			total += procs.counters(master, pid)['requests_in_flight']
	return total
