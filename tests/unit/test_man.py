#!/usr/bin/env python3
"""The manual pages build cleanly, and leave nothing out: what the programs and
their tables know is looked up in them, and in the README.

	test_man.py SOURCE-ROOT DROVER DROVER-WORKER PAGE...

Speaks TAP.
"""
import os
import re
import shutil
import subprocess
import sys

ROOT, DROVER, WORKER = sys.argv[1:4]
PAGES = {os.path.basename(path): path for path in sys.argv[4:]}


def source(name):
	with open(os.path.join(ROOT, name), encoding='utf-8') as file:
		return file.read()


def answer(*command):
	return subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding='utf-8').stdout


def rendered(page):
	"""As a reader sees it: plain text in one long line."""
	text = answer('groff', '-man', '-Tutf8', '-Kutf8', '-P-cbou', '-rHY=0', '-rLL=2000n', PAGES[page])
	return re.sub(r'\s+', ' ', text.replace('−', '-').replace('‐', '-'))


def marked(page):
	"""What begins a paragraph of the source in bold, as commands, options and signals do."""
	lines = re.findall(r'^\*.*$', source(f'man/{page}.scd'), re.M)
	return {word.replace('\\', '') for line in lines for word in re.findall(r'\*([^*]+)\*', line)}


def commands():
	"""In drover --help each stands in a column of its own."""
	found = re.findall(r'^  ([a-z]+)  ', answer(DROVER, '--help'), re.M)
	assert 'run' in found, found
	return found


def options(*command):
	found = re.findall(r'^  (?:-[a-z], |    )?(--[a-z-]+)', answer(*command), re.M)
	assert '--help' in found, found
	return found


def signals():
	"""Rows of the master's table; what it does for its own sake, and what it ignores, is no news."""
	rows = re.findall(r'\{ SIG\w+, "(SIG\w+)", (\w+) \}', source('balancer/master/signals.c'))
	assert ('SIGHUP', 'reload') in rows, rows
	return [name for name, act in rows if act not in ('NULL', 'reap')]


def test_pages_build_without_warnings():
	assert set(PAGES) == {'drover.1', 'drover.yaml.5', 'drover-worker.1'}, PAGES
	for path in PAGES.values():
		run = subprocess.run(['groff', '-man', '-ww', '-z', '-Tutf8', '-Kutf8', path], check=True,
				     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding='utf-8')
		assert run.stdout == '', run.stdout


def test_commands():
	words, page, readme = commands(), marked('drover.1'), source('README.md')
	for word in words:
		assert f'drover {word}' in page, f'drover.1 lacks drover {word}'
		assert re.search(f'`drover {word}[ `]', readme), f'README.md lacks drover {word}'
	known = {f'drover {word}' for word in words + ['version', 'help']}
	named = {text for text in page if re.fullmatch(r'drover [a-z]+', text)}
	assert named == known, f'drover.1 has, or lacks: {named ^ known}'


def test_options():
	known = {name for word in commands() for name in options(DROVER, word, '--help')}
	named = {text for text in marked('drover.1') if re.fullmatch(r'--[a-z-]+', text)} - {'--version'}
	assert named == known, f'drover.1 has, or lacks: {named ^ known}'


def test_options_of_the_worker():
	known = set(options(WORKER, '--help'))
	named = {text for text in marked('drover-worker.1') if re.fullmatch(r'--[a-z-]+', text)}
	assert named == known, f'drover-worker.1 has, or lacks: {named ^ known}'


def test_signals():
	page, readme = marked('drover.1'), source('README.md')
	for name in signals():
		assert name in page, f'drover.1 lacks {name}'
		assert f'`{name}`' in readme, f'README.md lacks {name}'


def test_exit_statuses_and_variables():
	contract = source('common/contract.h')
	page, readme = marked('drover.1'), source('README.md')
	statuses = re.findall(r'EXIT_\w+ = (\d+)', contract)
	variables = re.findall(r'#define CONTRACT_\w+ "(\w+)"', contract)
	assert len(statuses) >= 4 and 'PORT' in variables, contract
	for name in statuses + variables:
		assert name in page, f'drover.1 lacks {name}'
	for name in variables:
		assert f'`{name}`' in readme, f'README.md lacks {name}'


def test_every_variable_that_is_read():
	page = marked('drover.1')
	folders = [os.path.join(ROOT, name) for name in ('balancer', 'common')]
	text = answer('grep', '-rhoE', '--include=*.c', r'\bgetenv\("\w+"\)', *folders)
	names = set(re.findall(r'"(\w+)"', text))
	assert names, text
	assert names <= page, f'drover.1 lacks {names - page}'


def test_keys():
	reference, page = answer(DROVER, 'config', '--reference'), rendered('drover.yaml.5')
	# What a key holds stands on its line, what it means on the one below; a block has no second.
	keys = re.findall(r'^- \*\*`(\w+)`\*\*: (.*)\n(?:  (.*))?', reference, re.M)
	assert len(keys) > 50, keys
	for name, holds, means in keys:
		wanted = re.sub(r'\s+', ' ', f'{name}: {holds} {means}'.replace('`', '')).strip()
		assert wanted in page, f'drover.yaml.5 lacks: {wanted}'


def main():
	if not shutil.which('groff'):
		print('1..0 # SKIP there is no groff')
		return
	tests = [(name, function) for name, function in globals().items() if name.startswith('test_')]
	print(f'1..{len(tests)}')
	for i, (name, function) in enumerate(tests, 1):
		try:
			function()
			print(f'ok {i} - {name}')
		except AssertionError as error:
			print(f'not ok {i} - {name}')
			print(''.join(f'# {line}\n' for line in str(error).splitlines()), end='')


main()
