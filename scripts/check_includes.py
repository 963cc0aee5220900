#!/usr/bin/env python3
"""Prints every #include that goes against the drawing under "Includes" in
ARCHITECTURE.md, and fails when there is one.

A line of the drawing reads "a  <-  b, c  <-  d": what stands right of an arrow
may include what stands left of it, over any number of arrows.  A name is a
folder, or a single file.  Everything may include its own folder.  Tests are
free.
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FREE = ('tests',)


def read_drawing():
	"""{place: set of places it may include}"""
	with open(os.path.join(ROOT, 'ARCHITECTURE.md'), encoding='utf-8') as f:
		block = re.search(r'^## Includes\n.*?^```\n(.*?)^```', f.read(), re.S | re.M)
	if not block:
		sys.exit('check_includes: no drawing under "## Includes" in ARCHITECTURE.md')
	may = {}
	for line in block[1].splitlines():
		left = set()
		for group in filter(None, (g.strip() for g in line.split('<-'))):
			names = {n.strip() for n in group.split(',')}
			for name in names:
				may.setdefault(name, {name}).update(left)
			left |= names
	return may


def place_of(path, places):
	"""The narrowest place of the drawing that holds this file, or None."""
	fits = [p for p in places if path == p or path.startswith(p + '/')]
	return max(fits, key=len) if fits else None


def sources():
	for top, dirs, files in os.walk(ROOT):
		dirs[:] = [d for d in dirs if not d.startswith(('.', 'build'))]
		for name in files:
			if name.endswith(('.c', '.h', '.def')):
				yield os.path.relpath(os.path.join(top, name), ROOT)


def main():
	may = read_drawing()
	wrong = 0
	for path in sorted(sources()):
		if path.split('/')[0] in FREE:
			continue
		here = place_of(path, may)
		with open(os.path.join(ROOT, path), encoding='utf-8') as f:
			for number, line in enumerate(f, 1):
				found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
				if not found:
					continue
				there = place_of(found[1], may)
				if here is None:
					print(f'{path}:{number}: this folder is not in the drawing')
				elif there is None:
					print(f'{path}:{number}: "{found[1]}" is not in the drawing')
				elif there not in may[here]:
					print(f'{path}:{number}: {here} may not include {there} ("{found[1]}")')
				else:
					continue
				wrong += 1
	return 1 if wrong else 0


sys.exit(main())
