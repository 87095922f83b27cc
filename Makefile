# Everything needs only Python (>= 3.11) and make; the environment lives in .venv.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: install demo test lint types planted wheel clean

install: $(VENV)/.installed  ## create .venv and install wattcal with the lab and the development tools

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[lab,dev]'
	touch $@

demo: install  ## a whole calibration on a simulated machine, no hardware, about a minute
	$(BIN)/wattcal demo

test: install  ## everything that CI runs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

.PHONY: test-parallel
test-parallel: install  ## the same three at a time, in 9 minutes; what times itself may fail on a busy computer
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile -m "not alone"
	$(BIN)/python -m pytest -m alone

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

planted: install  ## ten planted faults, each of which must make a test fail
	$(BIN)/python -P tests/shape/planted/plant.py

wheel: install  ## build the wheel into dist/
	$(BIN)/python -m build --wheel

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

.PHONY: verdict
verdict: install  ## the verdict on 1,000 bad and 1,000 good synthetic calibrations, and around the thresholds
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python tests/numbers/verdict_cases.py

.PHONY: coverage
coverage: install  ## how often the stated 95 % intervals hold the truth, row by row (minutes)
	PYTHONPATH=. $(BIN)/python benchmarks/coverage.py

.PHONY: scoreboard
scoreboard: install  ## every recording in WATTCAL_DATA in one table: raw, fitted, held out, nulls, coverage, verdict
	PYTHONPATH=. $(BIN)/python benchmarks/scoreboard.py

.PHONY: alignment window-energy
alignment: install  ## the error of the lag over 400 simulated recordings beside the one it claims (a minute)
	PYTHONPATH=. $(BIN)/python benchmarks/alignment.py

window-energy: install  ## exact energies of windows from 10 million samples, beside pandas and polars
	PYTHONPATH=. $(BIN)/python benchmarks/window_energy.py

.PHONY: meters-table
meters-table: install  ## write the catalogue of meters into README.md
	$(BIN)/wattcal meters --update README.md

.PHONY: fuzz
fuzz: install  ## 10 million bytes that no meter sends through every wire format, a million broken counters (minutes)
	PYTHONPATH=. $(BIN)/python -m tests.wire.fuzz
	PYTHONPATH=. $(BIN)/python -m tests.numbers.counter_fuzz

.PHONY: soak
soak: install  ## 200 kills of a recorder, ten minutes at 20 kHz, memory over two days (20 minutes)
	$(BIN)/python -m tests.lab.soak

.PHONY: recording-speed
recording-speed: install  ## rows to disk and back beside pandas CSV and Parquet; processor time, jitter
	$(BIN)/python benchmarks/recording.py

.PHONY: meter-speed
meter-speed: install  ## what reading costs: a PowerSensor3 at 20 kHz, an exchange of Modbus (three minutes)
	PYTHONPATH=. $(BIN)/python benchmarks/meter_speed.py

.PHONY: peers
peers: .venv-peers/.installed  ## CarbonTracker and Zeus, in an environment of their own

.venv-peers/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet $$($(PYTHON) -c 'import tomllib; print(*tomllib.load( \
		open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["peers"])')
	touch $@

.PHONY: conformance
conformance: install peers  ## the released energy tools against counters of known energy (ten minutes)
	$(BIN)/wattcal conformance all --peers .venv-peers -o datasets/conformance-$$(date -u +%F)

.PHONY: estimator-cost
estimator-cost: install peers  ## CPU time of a read of the counters: ours, Zeus, CarbonTracker (two minutes)
	$(BIN)/python benchmarks/estimators.py
