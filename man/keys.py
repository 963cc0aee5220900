#!/usr/bin/env python3
"""Puts the config keys, as scdoc, where @KEYS@ stands in a manual page.

	keys.py DROVER PAGE.scd >OUT.scd

The keys come from `drover config --reference`, which prints the tables that
read the file: a key is described in one place only.  That Markdown is simple on
purpose: headings, paragraphs, yaml blocks, and two lines per key, what it holds
and what it means.  Anything else ends the build.
"""
import re
import subprocess
import sys


def escape(text):
	return re.sub(r'([\\*_])', r'\\\1', text)


def inline(text):
	"""`code` becomes bold."""
	parts = text.split('`')
	if len(parts) % 2 == 0:
		sys.exit(f'keys.py: a ` too many or too few: {text}')
	return ''.join(f'*{escape(part)}*' if i % 2 else escape(part) for i, part in enumerate(parts))


def key_line(line):
	match = re.fullmatch(r'- \*\*`([^`]+)`\*\*: (.+)', line)
	if not match:
		sys.exit(f'keys.py: not a key: {line}')
	# Underlined, to stand out from the bold examples behind it.
	return f'_{escape(match[1])}_: {inline(match[2])}'


def convert(markdown):
	out, in_code, in_key = [], False, False
	lines = markdown.splitlines()
	# Without the title and the sentence that says where this comes from.
	for line in lines[lines.index('', 2) + 1:]:
		was_key, in_key = in_key, False
		if line.startswith('```'):
			in_code = not in_code
			out.append('```')
		elif in_code:
			out.append(line)
		elif line.startswith('## '):
			out.append(f'## {escape(line[3:])}')
		elif line.startswith('- '):
			out += ['', key_line(line)]
			in_key = True
		elif line.startswith('  ') and was_key:
			out.append(f'\t{inline(line.strip())}')
		elif re.match(r"[#|\[\s\-.']", line):
			sys.exit(f'keys.py: neither a paragraph nor a key: {line}')
		else:
			out.append(inline(line))
	return '\n'.join(out)


def main():
	drover, page = sys.argv[1:]
	reference = subprocess.run([drover, 'config', '--reference'], check=True, stdout=subprocess.PIPE,
				   encoding='utf-8').stdout
	with open(page, encoding='utf-8') as file:
		head, tail = file.read().split('@KEYS@\n')
	# scdoc wants one empty line between blocks, never two.
	text = re.sub(r'\n{3,}', '\n\n', head + convert(reference) + '\n' + tail)
	sys.stdout.buffer.write(text.encode())


main()
