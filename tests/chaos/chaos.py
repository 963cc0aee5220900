"""Runs seeds one after another; scripts/chaos says how it is called."""
import argparse
import os
import random
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def arguments():
	parser = argparse.ArgumentParser(prog='scripts/chaos', add_help=False)
	parser.add_argument('--seed', type=int)
	parser.add_argument('--seeds', type=int)
	parser.add_argument('--first', type=int, default=1)
	parser.add_argument('--bursts', type=int, default=4)
	parser.add_argument('--plan')
	parser.add_argument('--go-on', action='store_true')
	parser.add_argument('--build')
	return parser.parse_args()


def one(seed, args):
	"""In this process, which knows one build only."""
	from run import Failure, Run, plan_of
	try:
		print(Run(seed, plan_of(args.plan) if args.plan else None, args.bursts).run(), flush=True)
		return 0
	except Failure as e:
		print(f'{e}\nFAILED: seed {seed}; again: scripts/chaos --seed {seed}', flush=True)
		return 1


def build_of(seed, args):
	return os.environ.get('DROVER_BUILD') or \
		os.path.join(ROOT, 'build-test', args.build or ('gcc' if seed % 2 == 0 else 'asan'))


def main():
	args = arguments()
	if args.seeds is None:
		seed = args.seed if args.seed is not None else random.randrange(1, 1 << 31)
		os.environ['DROVER_BUILD'] = build_of(seed, args)
		return one(seed, args)
	failed = []
	more = [a for a, on in (('--go-on', args.go_on),) if on] + ['--bursts', str(args.bursts)]
	for seed in range(args.first, args.first + args.seeds):
		env = {**os.environ, 'DROVER_BUILD': build_of(seed, args)}
		if subprocess.run([sys.executable, __file__, '--seed', str(seed), *more], env=env, check=False).returncode:
			failed.append(seed)
			if not args.go_on:
				break
	print(f'failed: {" ".join(map(str, failed))}' if failed else f'none of {args.seeds} failed')
	return 1 if failed else 0


sys.exit(main())
