# `make session` and `make test` are all a new machine needs; `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
ARGS ?=
# Nodes that were killed leave their shared memory behind; what is in use is left alone.
SWEEP := fastdds shm clean >/dev/null 2>&1 || true
PYTEST_ARGS ?=

.PHONY: help setup lerobot session test check bench reproduce clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

setup: ## make or complete the environment and build the workspace (idempotent)
	@bash pip_ros/setup.sh

lerobot: ## make the extra environment for LeRobot's data sets and trainer (large)
	@bash pip_ros/setup_lerobot.sh

session: ## open a session in the shipped world model (ARGS="task:=pusht port:=8765" are launch arguments)
	@bash pip_ros/setup.sh --quiet
	@source env.bash && { $(SWEEP); } && exec ros2 launch hiwm_bringup wm_session.launch.py $(ARGS)

test: ## run every check: ruff, mypy, unit, node, end-to-end and browser tests
	@bash pip_ros/setup.sh --quiet --test
	@source env.bash && { $(SWEEP); } && bash pip_ros/check.sh && bash pip_ros/run_tests.sh $(PYTEST_ARGS)

check: ## ruff and mypy alone
	@bash pip_ros/setup.sh --quiet --test
	@source env.bash && bash pip_ros/check.sh

bench: ## measure everything, half an hour; writes bench/results/*.json
	@bash pip_ros/setup.sh --quiet --test
	@source env.bash && { $(SWEEP); } && python3 -m bench.session --json bench/results/session.json
	@source env.bash && { $(SWEEP); } && python3 -m bench.world_model --json bench/results/world_model.json
	@source env.bash && { $(SWEEP); } && python3 -m bench.console --json bench/results/console.json
	@source env.bash && { $(SWEEP); } && python3 -m bench.recorder --kills 5 --json bench/results/recorder.json
	@source env.bash && python3 -m bench.episodes --json bench/results/episodes.json
	@source env.bash && python3 -m bench.policy --json bench/results/policy.json
	@source env.bash && python3 -m bench.rollout_tree --json bench/results/rollout_tree.json
	@source env.bash && { $(SWEEP); } && python3 -m bench.arm --json bench/results/arm.json
	@source env.bash && { $(SWEEP); } && python3 -m bench.arm_faults --faults 100 --json bench/results/arm_faults.json
	@source env.bash && { $(SWEEP); } && python3 -m bench.crash --json bench/results/crash.json
	@source env.bash && { $(SWEEP); } && python3 -m bench.soak --minutes 10 --json bench/results/soak.json

reproduce: ## repeat the study, from data to report (ARGS="--budget small|full --out runs/study"); goes on where it stopped
	@bash pip_ros/setup.sh --quiet
	@source env.bash && exec nice -n 10 ros2 run hiwm_policy reproduce $(ARGS)

clean: ## remove what the build made (not the environment, not your sessions)
	rm -rf build install log
