"""Things about the repository itself that must stay true."""
import glob
import os
import re
import subprocess

import pytest

from drover import DROVER, ROOT


@pytest.mark.parametrize('name', ['drover.yaml', 'minimal.yaml'])
def test_example_configs_are_valid(name, tmp_path):
	path = os.path.join(ROOT, 'conf', name)
	done = subprocess.run([DROVER, 'check', '-c', path], capture_output=True, text=True, timeout=60, cwd=tmp_path)
	assert done.returncode == 0, done.stdout + done.stderr


def test_examples_in_the_readme_are_valid(tmp_path):
	with open(os.path.join(ROOT, 'README.md'), encoding='utf-8') as f:
		blocks = re.findall(r'^```yaml\n(.*?)^```', f.read(), re.S | re.M)
	assert blocks
	for text in blocks:
		path = tmp_path / 'drover.yaml'
		path.write_text(text, encoding='utf-8')
		done = subprocess.run([DROVER, 'check', '-c', path], capture_output=True, text=True, timeout=60)
		assert done.returncode == 0, done.stdout + done.stderr


def test_links_between_documents_lead_somewhere():
	wrong = []
	for path in glob.glob(os.path.join(ROOT, '**', '*.md'), recursive=True):
		if 'build' in os.path.relpath(path, ROOT).split('/')[0]:
			continue
		with open(path, encoding='utf-8') as f:
			text = f.read()
		for target in re.findall(r'\]\(([^)#\s]+)(?:#[^)]*)?\)', text):
			if '://' not in target and not os.path.exists(os.path.join(os.path.dirname(path), target)):
				wrong.append(f'{os.path.relpath(path, ROOT)}: {target}')
	assert not wrong


def test_every_folder_says_what_it_is():
	for folder in ('balancer', 'worker', 'common', 'tests', 'conf', 'scripts', 'tests/apps', 'balancer/master',
		       'balancer/proxy', 'balancer/config', 'balancer/board'):
		assert os.path.exists(os.path.join(ROOT, folder, 'README.md')), f'{folder}/README.md'
