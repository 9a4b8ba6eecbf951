# The graph of the project: a notebook's executed copy is a target, papermill makes it. `make` lists the targets.
# make reproduce [SCALE=smoke|tiny|paper] [PARAMETERS="-p SEED 3"] [PYTHON=/a/python3.12]
SCALE ?= tiny
PARAMETERS ?=
BENCH ?= agents fid classify clone memory outside search pace
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
NOTEBOOKS := 01_grammar_encoding 02_environment_design 03_agent_training_sweeps 04_image_search 05_noisy_diffusion_gradient \
  06_imagenet100_cloning 07_resnet18_classification 08_fid_kid_imagenet_variants 09_control A2_agent_claims \
  A3_search_at_equal_cost A4_captions_and_encodings A5_ablation_and_memorisation 10_claims_ledger
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

# An active environment (conda, venv, uv) in which this checkout is installed is used; else .venv is made.
INSTALLED := import importlib.util as u, os, sys, rldf_utils as r; sys.exit(not (u.find_spec("papermill") and os.path.samefile(r.__path__[0], "rldf_utils")))
ACTIVE := $(if $(filter-out $(CURDIR)/.venv,$(CONDA_PREFIX) $(VIRTUAL_ENV)),$(shell python -P -c '$(INSTALLED)' 2>/dev/null && echo yes))
BIN := $(if $(ACTIVE),,.venv/bin/)
READY := $(if $(ACTIVE),,.venv/.installed)
RAY := $(if $(ACTIVE),ray-in-active,.venv/.ray)
API := $(if $(ACTIVE),api-in-active,.venv/.api)

.PHONY: help reproduce page doctor compare reference test lab models models-report bench fuzz ray ray-in-active api api-in-active \
  lint clean FORCE
help: ## list the targets (default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile
reproduce: $(call executed,$(NOTEBOOKS)) ## execute the notebooks in order, results to results/SCALE/, then compare and write the page
	@$(BIN)python -m rldf_utils.compare $(SCALE) || true
	@$(BIN)python -m rldf_utils.page $(SCALE)
ifeq ($(SCALE)$(filter reproduce,$(MAKECMDGOALS)),paperreproduce) # before anything runs for days
$(call executed,$(NOTEBOOKS)): | doctor
endif
page: $(READY) ## write results/SCALE/index.html from the results that are there, and open it in a browser
	@$(BIN)python -m rldf_utils.page $(SCALE) --open
compare: $(READY) ## hold the results against the committed run: verdicts, numbers, versions; exit status 1 if they differ
	@$(BIN)python -m rldf_utils.compare $(SCALE)
reference: $(READY) ## take these results as the committed run, or with NAME="another CPU" as one more measured run
	$(BIN)python -m rldf_utils.compare $(SCALE) --add "$(or $(NAME),committed)"
	$(BIN)python tests/bench/seeds.py
doctor: $(READY) ## what SCALE needs and what this machine has, in seconds: device, models, data, hours (PRICE=2.5 a GPU-hour: the bill)
	@$(BIN)python -m rldf_utils.doctor $(SCALE) $(if $(PRICE),--price $(PRICE))
test: $(RAY) $(API) ## run all tests, every notebook at SCALE=smoke included
	$(BIN)python -m pytest
lab: $(READY) ## open JupyterLab; step through notebooks/ (LAB="--no-browser --port 9000" for options)
	$(BIN)jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB)
models: $(call executed,$(MODELS)) ## train the tiny models from scratch (notebook A1; half an hour on an H100, resumable)
models-report: $(call executed,$(MODELS)) ## measure the shipped models against their bars, and renew their cards
	$(MAKE) data/SHA256SUMS
models-report: PARAMETERS += -p OUT data/models
models: PARAMETERS += -p TRAIN yes
bench: $(RAY) ## measure speed against peers and limits, to results/bench/ (half an hour; BENCH="fid clone" for some)
	for part in $(BENCH); do $(BIN)python tests/bench/$$part.py || exit 1; done
fuzz: $(READY) ## 10,000 images, 2,000 grammars, 500 parameter sets, spoilt at random, to results/bench/fuzz.md
	$(BIN)python tests/bench/fuzz.py
ray: $(RAY) ## add Ray, for RAY_ADDRESS in notebooks 3 and 6
api: $(API) ## add the openai client, for MODEL openai-images in notebooks 2, 4 and 6
lint: $(READY) ## ruff over code and notebooks
	$(BIN)ruff check .
data/SHA256SUMS: FORCE
	cd data && find . -type f ! -name SHA256SUMS ! -path './raw/*' ! -name '.*' | LC_ALL=C sort | xargs sha256sum > SHA256SUMS
clean: ## remove caches and partly executed copies; results, models, notebook 7's trainings and .venv stay
	find .cache -mindepth 1 -maxdepth 1 ! -name trainings -exec rm -rf {} + 2>/dev/null || true
	rm -rf .pytest_cache .ruff_cache results/*/*/partial.ipynb
	find rldf_utils tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

# Renamed when whole; an install that was broken off is begun anew, and so is that of a checkout which was moved.
MOVED := $(if $(wildcard .venv/.installed),$(shell [ "$$(cat .venv/.installed)" = "$$(pwd -P)" ] && .venv/bin/python -c '' || echo FORCE))
.venv/.installed: requirements.txt pyproject.toml $(MOVED)
	@[ -n "$(PYTHON)" ] && "$(PYTHON)" -c '$(SUPPORTED)' \
	  || { echo 'Python 3.11, 3.12 or 3.13 is needed, and "$(PYTHON)" is none of them. Install one, or name it: make PYTHON=/path/to/python3.12'; false; }
	@[ -z "$(MOVED)" ] || echo 'This folder was moved, or its Python is gone: .venv is made anew.'
	"$(PYTHON)" -m venv $(if $(MOVED)$(wildcard .venv/.installing),--clear) .venv
	rm -f $@
	touch .venv/.installing
	.venv/bin/python -m pip install -r requirements.txt
	.venv/bin/python -m pip install --no-deps --no-build-isolation -e .
	pwd -P > .venv/.installing
	mv .venv/.installing $@

.venv/.ray ray-in-active: requirements-ray.txt $(READY)
.venv/.api api-in-active: requirements-api.txt $(READY)
.venv/.ray ray-in-active .venv/.api api-in-active:
	$(BIN)python -m pip install -r $<
	@$(if $(ACTIVE),,touch $@)

CODE := $(shell find rldf_utils data/grammar -type f -not -name '.*' -not -name '*.pyc')
INPUTS := $(shell find data/models data/paper data/examples data/imagenet -type f -not -name '.*')
# Notebooks side by side (-j) must not each use every core: that is several times slower than one after the other.
THREADS = $(if $(findstring jobserver,$(MAKEFLAGS)),OMP_NUM_THREADS=1 )
# An executed copy counts as done only with its run.json beside it: a committed one was not made here.
.SECONDEXPANSION:
$(call executed,$(NOTEBOOKS) $(MODELS)): results/$(SCALE)/%/executed.ipynb: notebooks/%.ipynb $(CODE) $(READY) \
    $$(if $$(wildcard $$(@D)/run.json),,FORCE)
	@mkdir -p $(@D)
	@rm -f $@ $(@D)/run.json
	$(THREADS)$(BIN)papermill notebooks/$*.ipynb $(@D)/partial.ipynb -p SCALE $(SCALE) --start-timeout 300 --progress-bar $(PARAMETERS) \
	  || { echo 'notebooks/$*.ipynb failed; its partly executed copy shows the error: $(@D)/partial.ipynb'; false; }
	@$(BIN)python -m rldf_utils.compare --tidy $(@D)/partial.ipynb
	@mv $(@D)/partial.ipynb $@
$(call executed,$(NOTEBOOKS)): $(INPUTS)
$(call executed,$(MODELS)): FORCE
$(call executed,03_agent_training_sweeps 04_image_search 05_noisy_diffusion_gradient A2_agent_claims A3_search_at_equal_cost): \
    $(call executed,02_environment_design)
$(call executed,07_resnet18_classification 08_fid_kid_imagenet_variants): $(call executed,06_imagenet100_cloning)
$(call executed,10_claims_ledger): $(call executed,$(filter-out 10_claims_ledger,$(NOTEBOOKS)))

# Results made with other PARAMETERS are not up to date. A name that no notebook knows is refused before anything runs.
STAMP := results/$(SCALE)/.parameters
$(call executed,$(NOTEBOOKS) $(MODELS)): $(if $(PARAMETERS)$(wildcard $(STAMP)),$(STAMP))
ifneq ($(strip $(shell cat $(STAMP) 2>/dev/null)),$(strip $(PARAMETERS)))
$(STAMP): FORCE
endif
CHECKED = $(if $(filter models%,$(MAKECMDGOALS)),$(MODELS),$(NOTEBOOKS))
$(STAMP): | $(READY)
	@$(if $(PARAMETERS),for name in $(CHECKED); do \
	  $(BIN)papermill notebooks/$$name.ipynb - --prepare-only --log-level WARNING $(PARAMETERS) 2>&1 >/dev/null | grep -E 'unknown|Error'; \
	done | sort | uniq -c | awk '$$1 == $(words $(CHECKED)) { $$1 = "REFUSED:"; print; bad = 1 } END { exit bad }')
	@mkdir -p $(@D)
	@printf '%s\n' "$$PARAMETERS" > $@
