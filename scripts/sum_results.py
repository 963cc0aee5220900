#!/usr/bin/env python3
"""Adds up JUnit files: lists what failed or was skipped, and ends with the line
"N passed, N failed".  Fails when something failed, or when nothing ran.

NAME.again.xml is of those that failed in NAME.xml, run once more: one that passed then
counts as passed, and is listed as unsteady.

  sum_results.py FILE...             the sum
  sum_results.py --failed FILE       pytest's names of those that failed
"""
import sys
import xml.etree.ElementTree as ElementTree

AGAIN = '.again.xml'


def cases(path):
	for case in ElementTree.parse(path).iter('testcase'):
		bad = case.find('failure') is not None or case.find('error') is not None
		yield f"{case.get('classname') or path}: {case.get('name')}", bad, case


def print_failed(path):
	failed = {name: case for name, bad, case in cases(path) if bad}
	for case in failed.values():
		print(f"tests/system/{case.get('classname')}.py::{case.get('name')}")
	return 0


def main(paths):
	passed, failed, skipped, unsteady = 0, [], [], []
	good = {}  # path of the first run: what passed in the second, with setup and end
	for path in (p for p in paths if p.endswith(AGAIN)):
		results = [(name, bad) for name, bad, _ in cases(path)]
		good[path.replace(AGAIN, '.xml')] = {n for n, _ in results} - {n for n, bad in results if bad}
	for path in (p for p in paths if not p.endswith(AGAIN)):
		for name, bad, case in cases(path):
			if bad and name in good.get(path, ()):
				unsteady.append(name)
				passed += 1
			elif bad:
				failed.append(name)
			elif case.find('skipped') is not None:
				skipped.append(name)
			else:
				passed += 1
	for word, names in (('skipped', skipped), ('UNSTEADY, failed beside others and passed alone:', unsteady), ('FAILED', failed)):
		for name in names:
			print(f'{word} {name}')
	print(f'{passed} passed, {len(failed)} failed')
	return 1 if failed or not passed else 0


sys.exit(print_failed(sys.argv[2]) if sys.argv[1:2] == ['--failed'] else main(sys.argv[1:]))
