"""Makes the starter from the corpus: tokenizer, pretraining, export, scores. Safe to run again after a cut.

    python -m tools.starter --corpus DIR --out DIR [--tokens 66e6]

The weights in the package continue from an earlier draft: add `--continue-from DRAFT --tokenizer DRAFT` and the
settings on their model card.
"""

import argparse
import json
from pathlib import Path

from tools.starter import evaluate, export, pretrain, tokenizer


def model_and_share(text: str) -> tuple[Path, float]:
    """ "DIR=0.25" as a folder and a share; a half where none is given."""
    folder, _, share = text.partition("=")
    return Path(folder), float(share or 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.starter", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    pretrain.add_arguments(parser, tokenizer_required=False)
    parser.add_argument(
        "--average-with",
        type=model_and_share,
        action="append",
        default=[],
        metavar="DIR[=SHARE]",
        help="an exported model that the result is mixed with, by this share of it (a half); may be given again",
    )
    args = parser.parse_args()
    args.tokenizer = args.tokenizer or args.out / "tokenizer"
    if not (args.tokenizer / "tokenizer.json").exists():
        tokenizer.write_tokenizer(tokenizer.train_tokenizer(tokenizer.sample_texts(args.corpus)), args.tokenizer)
    model = pretrain.pretrain(args)
    for exported, share in args.average_with:
        export.average(model, exported, share)
    model_dir: Path = args.out / "model"
    gap = export.export(model, args.tokenizer, model_dir)
    scores = evaluate.score(model_dir, args.corpus, max_rows=10**9)
    (args.out / "scores.json").write_text(json.dumps({"logit_gap": gap, "bits_per_byte": scores}, indent=1), "utf-8")
    print(json.dumps(scores, indent=1))


if __name__ == "__main__":
    main()
