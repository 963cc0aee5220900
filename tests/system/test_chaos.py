"""Some of the chaos runs, which scripts/chaos has by the hundred; see tests/chaos."""
import os
import sys

import pytest

from drover import QUICK, ROOT

sys.path.append(os.path.join(ROOT, 'tests', 'chaos'))

import judge  # noqa: E402
from clients import Incident  # noqa: E402
from run import Run  # noqa: E402


# Every kind of blow falls in one of these, but for those that take long: a worker or a request that hangs.
@pytest.mark.parametrize('seed', [4, 10, 82] if QUICK else [4, 10, 48, 82, 150])
def test_seed(seed):
	print(Run(seed, bursts=3).run())


def incident(**changes):
	one = {'kind': 'any', 'id': 'a', 'method': 'GET', 'again': True, 'port': 1000, 'opened': 10.0, 'began': 11.0, 'sent': 11.1, 'ended': 12.0,
	       'what': 'closed'}
	return Incident(**{**one, **changes})


EXCUSED = [
	('its balancer died', incident(), []),
	('a POST, and its worker died', incident(port=2000, method='POST', again=False, status=502), [7]),
	('three workers died', incident(port=2000, status=502), [7, 8, 9]),
	('a reply, cut by the death of its worker', incident(port=2000, status=200, pid=7), [7]),
	('a worker that was killed before it recorded', incident(port=2000, method='POST', again=False, status=502), []),
	('a worker that hangs', incident(port=2000, status=504, ended=17.0), []),
]
NOT_EXCUSED = [
	('nobody died', incident(port=2000), []),
	('another balancer died', incident(port=2000), [5]),
	('its balancer died before it connected', incident(opened=11.8), []),
	('one worker died under a GET', incident(port=2000, status=502), [7]),
	('another worker died', incident(port=2000, method='POST', again=False, status=502), [5]),
	('an error, through the balancer that died', incident(status=500, never=True), []),
	('the hung worker had it for a moment', incident(port=2000, status=504, sent=11.6), [9]),
	('another worker died than that of the reply', incident(port=2000, status=200, pid=5), [5]),
]


@pytest.mark.parametrize('what, i, got', EXCUSED + NOT_EXCUSED, ids=[e[0] for e in EXCUSED + NOT_EXCUSED])
def test_the_judge(what, i, got):
	blows = judge.Blows()
	blows.ports = [(11.5, {1000, 1001})]
	blows.workers = {7: 11.5, 8: 11.6, 9: 11.7}
	blows.hung = {4: 11.0}
	assert bool(judge.excuse(i, blows, got, 6.0)) == ((what, i, got) in EXCUSED)


def test_the_judge_excuses_a_client_once_for_each_blow():
	blows = judge.Blows()
	blows.workers = {7: 11.5, 8: 11.6}
	lost = lambda id, got=(): judge.excuse(incident(id=id, port=2000, method='POST', again=False, status=502), blows, got, 6.0)
	assert [bool(lost(id)) for id in ('1.0.1', '1.0.2', '1.0.3', '1.1.1')] == [True, True, False, True]
	assert [bool(lost(id, [7])) for id in ('1.2.1', '1.2.2', '1.3.1')] == [True, False, True]


def test_the_judge_of_posts():
	faults = judge.post_faults({'a': 7, 'b': 7, 'c': 0, 'd': 0}, {'a', 'b', 'c', 'd'},
				   {'a': [('POST', 7)], 'b': [('POST', 8)], 'c': [('POST', 7), ('POST', 8)], 'e': [('POST', 7)]})
	assert len(faults) == 3 and all(w in f for w, f in zip(('POST b was answered by worker 7', 'POST c was delivered 2 times', 'POST e'), faults))
