# The graph of the project: a notebook's executed copy is a target, papermill makes it. `make` lists the targets.
# make reproduce [SCALE=smoke|tiny|paper] [PARAMETERS="-p SEED 3"] [PYTHON=/a/python3.11]
SCALE ?= tiny
PARAMETERS ?=
BENCH ?= agents fid classify clone
PYTHON ?= $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
NOTEBOOKS := 01_grammar_encoding 02_environment_design 03_agent_training_sweeps 04_image_search 06_imagenet100_cloning \
  07_resnet18_classification 08_fid_kid_imagenet_variants A2_agent_claims
MODELS := A1_train_tiny_models
executed = $(1:%=results/$(SCALE)/%/executed.ipynb)

ifeq ($(findstring <$(SCALE)>,<smoke><tiny><paper>),)
$(error SCALE='$(SCALE)' is not known; choose one of smoke, tiny, paper)
endif
ifneq ($(findstring SCALE,$(PARAMETERS)),)
$(error Say SCALE=..., not PARAMETERS='$(PARAMETERS)': the scale chooses the results folder too)
endif
ifneq ($(SCALE),paper) # read when Python starts: below paper scale nothing looks at the network
export HF_HUB_OFFLINE := 1
export TRANSFORMERS_OFFLINE := 1
endif
export PARAMETERS
unexport RLDF_RESULTS # make's targets are below results/

.PHONY: help reproduce test lab models models-report bench ray lint clean FORCE
help: ## list the targets (default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile
reproduce: $(call executed,$(NOTEBOOKS)) ## execute the notebooks in order, results to results/SCALE/
test: .venv/.ray ## run all tests, every notebook at SCALE=smoke included
	.venv/bin/python -m pytest
lab: .venv/.installed ## open JupyterLab; step through notebooks/
	.venv/bin/jupyter lab
models: $(call executed,$(MODELS)) ## train the tiny models from nothing (notebook A1; 16 hours on 2 cores, resumable)
models-report: $(call executed,$(MODELS)) ## measure the shipped models against their bars, and renew their cards
	$(MAKE) data/SHA256SUMS
models-report: PARAMETERS += -p TRAIN no -p OUT data/models
bench: .venv/.ray ## measure speed against peers and limits, to results/bench/ (half an hour; BENCH="fid clone" for some)
	for part in $(BENCH); do .venv/bin/python tests/bench/$$part.py || exit 1; done
ray: .venv/.ray ## add Ray, for RAY_ADDRESS in notebooks 3 and 6
lint: .venv/.installed ## ruff over code and notebooks
	.venv/bin/ruff check .
data/SHA256SUMS: FORCE
	cd data && find . -type f ! -name SHA256SUMS ! -path './raw/*' ! -name '.*' | LC_ALL=C sort | xargs sha256sum > SHA256SUMS
clean: ## remove caches and partly executed copies; results, models and .venv stay
	rm -rf .cache .pytest_cache .ruff_cache results/*/*/partial.ipynb
	find rldf_utils tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

# Renamed when whole; an install that was broken off is begun anew.
.venv/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo 'Python 3.11 is needed and "$(PYTHON)" is not it. Install it, or name it: make PYTHON=/path/to/python3.11'; false; }
	$(PYTHON) -m venv $(if $(wildcard .venv/.installing),--clear) .venv
	rm -f $@
	touch .venv/.installing
	.venv/bin/python -m pip install -r requirements.txt
	.venv/bin/python -m pip install --no-deps --no-build-isolation -e .
	mv .venv/.installing $@

.venv/.ray: .venv/.installed requirements-ray.txt
	.venv/bin/python -m pip install -r requirements-ray.txt
	touch $@

CODE := $(shell find rldf_utils data/grammar -type f -not -name '.*' -not -name '*.pyc')
INPUTS := $(shell find data/models data/paper data/examples data/imagenet -type f -not -name '.*')
# Notebooks side by side (-j) must not each use every core: that is several times slower than one after the other.
THREADS = $(if $(findstring jobserver,$(MAKEFLAGS)),OMP_NUM_THREADS=1 )
# An executed copy counts as done only with its metrics.json beside it.
.SECONDEXPANSION:
$(call executed,$(NOTEBOOKS) $(MODELS)): results/$(SCALE)/%/executed.ipynb: notebooks/%.ipynb $(CODE) .venv/.installed \
    $$(if $$(wildcard $$(@D)/metrics.json),,FORCE)
	@mkdir -p $(@D)
	@rm -f $@
	$(THREADS).venv/bin/papermill notebooks/$*.ipynb $(@D)/partial.ipynb -p SCALE $(SCALE) --start-timeout 300 --progress-bar $(PARAMETERS) \
	  || { echo 'notebooks/$*.ipynb failed; its partly executed copy shows the error: $(@D)/partial.ipynb'; false; }
	@mv $(@D)/partial.ipynb $@
$(call executed,$(NOTEBOOKS)): $(INPUTS)
$(call executed,$(MODELS)): FORCE
$(call executed,03_agent_training_sweeps 04_image_search A2_agent_claims): $(call executed,02_environment_design)
$(call executed,07_resnet18_classification 08_fid_kid_imagenet_variants): $(call executed,06_imagenet100_cloning)

# Results made with other PARAMETERS are not up to date. A name that no notebook knows is refused before anything runs.
STAMP := results/$(SCALE)/.parameters
$(call executed,$(NOTEBOOKS) $(MODELS)): $(if $(PARAMETERS)$(wildcard $(STAMP)),$(STAMP))
ifneq ($(strip $(shell cat $(STAMP) 2>/dev/null)),$(strip $(PARAMETERS)))
$(STAMP): FORCE
endif
CHECKED = $(if $(filter models%,$(MAKECMDGOALS)),$(MODELS),$(NOTEBOOKS))
$(STAMP): | .venv/.installed
	@$(if $(PARAMETERS),for name in $(CHECKED); do \
	  .venv/bin/papermill notebooks/$$name.ipynb - --prepare-only --log-level WARNING $(PARAMETERS) 2>&1 >/dev/null | grep -E 'unknown|Error'; \
	done | sort | uniq -c | awk '$$1 == $(words $(CHECKED)) { $$1 = "REFUSED:"; print; bad = 1 } END { exit bad }')
	@mkdir -p $(@D)
	@printf '%s\n' "$$PARAMETERS" > $@
