#!/usr/bin/env python3
"""Adds up JUnit files: lists what failed or was skipped, and ends with the line
"N passed, N failed".  Fails when something failed, or when nothing ran."""
import sys
import xml.etree.ElementTree as ElementTree


def main(paths):
	passed, failed, skipped = 0, [], []
	for path in paths:
		for case in ElementTree.parse(path).iter('testcase'):
			name = f"{case.get('classname') or path}: {case.get('name')}"
			if case.find('failure') is not None or case.find('error') is not None:
				failed.append(name)
			elif case.find('skipped') is not None:
				skipped.append(name)
			else:
				passed += 1
	for name in skipped:
		print(f'skipped {name}')
	for name in failed:
		print(f'FAILED {name}')
	print(f'{passed} passed, {len(failed)} failed')
	return 1 if failed or not passed else 0


sys.exit(main(sys.argv[1:]))
