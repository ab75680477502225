# `make demo` runs the main job, `make test` passes the tests. Both set up what they need on a
# fresh Debian machine with Rust and Python.

SAMPLE := samples/oom-variable-length.pickle
REPORT := out/oom-variable-length.html
COMMAND := target/release/gpumemprof

.PHONY: demo test web wheel check build setup setup-build setup-wheel clean

demo: setup-build
	cargo build --release --locked
	mkdir -p out
	$(COMMAND) oom $(SAMPLE)
	$(COMMAND) report $(SAMPLE) --output $(REPORT)
	@echo
	@echo "The report: $(CURDIR)/$(REPORT)"
	@scripts/open.sh $(REPORT) $(SAMPLE)

test: setup
	# The same random cases each time: a failure here is a change's. Development varies them.
	PROPTEST_RNG_SEED=20261123 cargo test --workspace --locked
	scripts/python_tests.sh

# The viewer as one page for any browser; rustup adds the target.
web: setup-build
	scripts/web.sh out/gpumemprof-viewer.html

# The Python package's wheel, the viewer in it: out/gpumemprof-….whl.
wheel: setup-wheel
	python3 -m venv target/wheel-venv
	GPUMEMPROF_VIEWER=yes MATURIN_PEP517_ARGS=--locked \
		target/wheel-venv/bin/python -m pip wheel --disable-pip-version-check --no-deps --wheel-dir out ./pyext

# What CI checks beyond the tests.
check: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/python scripts/check_docs.py

setup-build:
	@scripts/setup.sh build

setup-wheel:
	@scripts/setup.sh wheel

setup:
	@scripts/setup.sh test

clean:
	cargo clean
	rm -rf out .venv
