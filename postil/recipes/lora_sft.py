"""The whole road, from a file of questions and answers to a tested adapter, in one function.

    step                       file                          hands on
    open_records               data/records.py               records, each with its place in the file
    validate_records           data/validation.py            conversations, and every problem
    split_conversations        data/splits.py                train and held-out, no question in both
    load_base                  models/loading.py             the frozen base, its tokenizer and chat format
    tokenize_conversations     data/examples.py              token ids and labels, by data/chat_template.py
    add_adapter                models/adapter.py             the thin matrices that will be trained
    train_adapter              training/loop.py              weights: batches (training/batches.py) of packs
                                                             (data/packing.py), forward, backward, step, checkpoint
    save_adapter               models/adapter.py             a plain PEFT folder with a manifest
    evaluate_adapter           evaluation/report.py          base against tuned on held-out questions, a verdict

The shell, the library and the tests all call `train_lora`. Two plain callables travel against the traffic: `report`
receives events, `should_stop` is asked after every step.
"""

import math
import time
from dataclasses import replace
from pathlib import Path

from postil.advice.estimate import Actual
from postil.config import RunConfig
from postil.data.conversations import content_hash
from postil.data.prepared import is_prepared
from postil.data.splits import split_conversations
from postil.errors import UsageError
from postil.evaluation.report import evaluate_adapter
from postil.events import PhaseStarted, Report, RunFinished, ShouldStop, ignore, never
from postil.models.adapter import add_adapter
from postil.models.devices import peak_memory_bytes
from postil.models.loading import load_base
from postil.models.manifest import write_text_atomically
from postil.recipes.defaults import resolve_config
from postil.recipes.estimating import estimated, find_grade, report_advice
from postil.recipes.facts import base_facts, data_facts
from postil.recipes.fitting import fit_pack
from postil.recipes.helping import hand_out_rows, hand_out_settings
from postil.recipes.prepare import open_prepared, open_records, tokenize_split, validate_records
from postil.recipes.reporting import heldout_probe, report_data, report_model, report_split, report_tokens
from postil.recipes.result import RunResult, config_hash, publish_adapter
from postil.recipes.row_tokens import write_row_tokens
from postil.recipes.run_folder import open_run, recorded, settle_chat_format, write_json
from postil.recipes.trackers import tracked
from postil.training.checkpoint import checkpoint_steps
from postil.training.kernels import keep_few_kernels
from postil.training.loop import train_adapter
from postil.training.workers import ALONE, Workers


def train_lora(
    config: RunConfig,
    report: Report = ignore,
    should_stop: ShouldStop = never,
    *,
    resume: bool = False,
    is_locked: bool = False,
    save_seconds: float = math.inf,
    workers: Workers = ALONE,
) -> RunResult:
    """Trains an adapter on a file and measures it.

    Args:
        config: every setting; what is None is filled in from the data and the base, and written to `run.yaml`.
        report: receives every event, also appended to `events.jsonl`.
        should_stop: asked after every step; True saves a checkpoint and raises `Stopped`.
        resume: go on in `config.output.dir` with the settings that its run began with.
        is_locked: this process holds the folder's lock already, from the one that started it.
        save_seconds: as `train_adapter`.
        workers: who trains with us; this process is the first of them, the others call `help_train`.

    Raises:
        DataError: the data cannot train; every problem is listed in it.
        TryAgainError: another run trains in the folder.
        PostilError: anything else that a caller can act on; see errors.py.
        Stopped: `should_stop` said so; the same call with `resume=True` goes on.
    """
    started = time.monotonic()
    if config.data.file is None and not resume:
        raise UsageError("recipes.no_file")
    folder, config = open_run(config, resume)
    hand_out_settings(workers, config)
    source = Path(config.data.file or "")
    with recorded(folder, report, resume, is_locked=is_locked) as record, tracked(config, folder, record) as report:
        if is_prepared(source):
            base = load_base(config.model)
            split, train, heldout, chat_format = open_prepared(source, base)
            records_kind = ""
        else:
            report(PhaseStarted(phase="read"))
            records = open_records(config.data)
            validation = validate_records(records, config.data)
            report_data(validation, config.data.drop_bad, report)
            records_kind = validation.kind
            split = split_conversations(validation.conversations, config.data.heldout_share, config.training.seed)

            report(PhaseStarted(phase="load"))
            base = load_base(config.model)

            report(PhaseStarted(phase="tokenize"))
            chat_format = settle_chat_format(folder, base.chat_format, validation.conversations)
            train, heldout = tokenize_split(split, chat_format, config.data, report, base.max_length_tokens)
        report_split(split, report)
        report_tokens(train, heldout, report)
        kept = heldout.conversations
        base = replace(base, chat_format=chat_format)
        facts = data_facts(config.data, split, train, heldout, records_kind)
        report_advice(config, facts, base_facts(base), report)
        config = resolve_config(config, facts, base_facts(base))
        config = fit_pack(config, base, longest_row=max(len(e.input_ids) for e in train.examples))
        write_text_atomically(folder.settings, config.to_yaml())
        write_row_tokens(folder.path, train.examples, config.training)

        report(PhaseStarted(phase="train"))
        model = add_adapter(base.model, config.adapter, config.training.seed)
        report_model(base, model, report)
        report = estimated(folder.path, report, facts, base_facts(base), config, started)
        data_hash = content_hash((*split.train, *split.heldout))
        # before the base answers for the first time: afterwards it would have no effect
        keep_few_kernels((config.training.batch_rows or 1) * config.training.accumulation)
        probe = heldout_probe(model, base, kept, heldout.examples, config, report)
        if probe is not None and config.evaluation.num_samples and not checkpoint_steps(folder.path):
            probe(0)  # an adapter that has learned nothing answers as its base
        hand_out_rows(workers, config, base, train.examples)
        trained = train_adapter(
            model,
            train.examples,
            config=config.training,
            run_dir=folder.path,
            data_hash=data_hash,
            config_hash=config_hash(config),
            report=report,
            should_stop=should_stop,
            evaluate=probe,
            evaluate_every=config.evaluation.evaluate_every or 1,
            resume=resume,
            save_seconds=save_seconds,
            workers=workers,
        )

        report(PhaseStarted(phase="save"))
        publish_adapter(folder, model, base, config, data_hash, metrics={"train_loss": trained.train_loss})

        report(PhaseStarted(phase="evaluate"))
        evaluation = evaluate_adapter(
            model,
            chat_format,
            kept,
            heldout.examples,
            learned=split.train,
            max_answers=config.evaluation.max_answers,
            max_new_tokens=config.evaluation.used_max_new_tokens,
            num_rows=len(split.train) + len(split.heldout),
            seed=config.training.seed,
            report=report,
        )
        took = Actual(time.monotonic() - started, peak_memory_bytes(base.device))
        graded = None if resume else find_grade(folder.path, took)
        result = RunResult.of(folder, trained, evaluation, took.seconds, graded)
        publish_adapter(folder, model, base, config, data_hash, metrics=result.metrics())
        write_json(folder.report, evaluation.as_dict())
        write_json(folder.result, result.as_dict())
        report(RunFinished(run_dir=str(folder.path), verdict=evaluation.verdict, peak_memory_bytes=took.memory_bytes))
    return result
