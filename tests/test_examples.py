"""The examples run, quickly; on data in `shared/data` beside the checkout where they need some."""

import importlib.util
import re
from pathlib import Path

import jax
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"


def example(name):
    """The module examples/NAME.py."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sentiment():
    """The module examples/sentiment_transformer.py."""
    return example("sentiment_transformer")


@pytest.fixture
def as_users_have_it():
    """JAX with its own settings: an example follows the user's."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def data(folder):
    """The path of a data set; skips the test where it is absent."""
    if not (DATA / folder).is_dir():
        pytest.skip(f"shared/data/{folder} is not beside this checkout")
    return DATA / folder


def test_the_sentiment_example(sentiment, as_users_have_it, tmp_path, capsys):
    folder = data("sentiment_uci_sentences")
    sentiment.main([str(folder), "--quick", "--out", str(tmp_path / "weights.png")])
    table = capsys.readouterr().out
    rows = {
        line[:24].strip(): line[24:].split() for line in table.splitlines() if re.match(r"(mirror|Adam|word)", line)
    }
    assert list(rows) == [*sentiment.OPTIMISERS, "word counts"]
    for name, row in rows.items():
        assert 0.35 < float(row[0]) <= 1, name
        assert len(row) == (3 if name == "word counts" else 10)
    assert (tmp_path / "weights.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("folder", "train", "test"),
    [("sentiment_uci_sentences", 2250, 750), ("sentiment_customer_reviews", 2831, 944), ("sentiment_sst2", 6920, 1821)],
)
def test_real_files_are_read(folder, train, test, sentiment):
    parts = sentiment.load(data(folder), np.random.default_rng(0))
    assert [len(part) for part in parts] == [train, test]
    assert all(0.4 < np.mean([label for _, label in part]) < 0.7 for part in parts)


def test_messy_files_are_answered_or_read(sentiment, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes("1 très bon\r\n\r\n  \nbad, bad\t0\r\n0 one\x85line\n".encode("latin-1"))
    assert sentiment.read(path) == [("très bon", 1), ("bad, bad", 0), ("one\x85line", 0)]
    path.write_text("1 good\n\nwhat is this\n")
    with pytest.raises(ValueError, match=r"lines.txt, line 3: 'what is this' is no labelled sentence; accepted: "):
        sentiment.read(path)
    for text in ("1 good\n1 fine\n", ""):
        path.write_text(text)
        with pytest.raises(SystemExit, match=r"^path=.* has \d training sentences; accepted: some of either label"):
            sentiment.main([str(path)])
    path.write_text("1 good\n0 bad\n" * 8)
    for arguments, answer in (
        (["nowhere"], r"^path=.*nowhere' does not exist; accepted: a text file or a folder of them$"),
        (["lines.txt", "--seeds", "0"], r"^seeds=0 is out of range; accepted: a whole number >= 1$"),
        (["lines.txt", "--epochs", "-1"], r"^epochs=-1 is out of range; accepted: a whole number >= 1$"),
        (["lines.txt", "--out", str(tmp_path / "no" / "a.png")], r"^out=.*a.png' cannot be written; accepted: a file"),
        (["lines.txt", "--out", str(tmp_path)], r"^out=.* cannot be written; accepted: a file in a folder that"),
    ):
        with pytest.raises(SystemExit, match=answer):
            sentiment.main([str(tmp_path / arguments[0]), *arguments[1:]])


def test_sorted_files_are_shuffled(sentiment, tmp_path):
    for name, size in (("train.txt", 400), ("test.txt", 200)):
        (tmp_path / name).write_text("".join(f"{int(i < size / 2)} word{i}\n" for i in range(size)))
    for part in sentiment.load(tmp_path, np.random.default_rng(0)):
        assert 0.3 < np.mean([label for _, label in part[:100]]) < 0.7


def test_attention_skips_what_is_past_the_end(sentiment, as_users_have_it):
    params = sentiment.initial(jax.random.key(0), 10)
    short = np.zeros((1, sentiment.LENGTH), np.int32)
    short[0, :5] = [2, 3, 4, 5, 6]
    logit, attention = sentiment.forward(params, short)
    np.testing.assert_allclose(attention[0, :, :, 5:], 0)
    np.testing.assert_allclose(attention.sum(axis=-1), 1, rtol=1e-5)
    with_rubbish = dict(params, words=params["words"].at[0].set(7.0))
    np.testing.assert_allclose(sentiment.forward(with_rubbish, short)[0], logit, rtol=1e-5)


def test_the_example_of_a_solved_last_layer(as_users_have_it, tmp_path, capsys):
    example("two_layer_head").main(["--quick", "--seeds", "2", "--out", str(tmp_path / "losses.png")])
    lines = capsys.readouterr().out.splitlines()
    full, batches = (next(i for i, line in enumerate(lines) if line.startswith(name)) for name in ("full", "batches"))
    descent, solved = (float(line.split()[-4]) for line in lines[full + 1 : full + 3])
    assert solved < descent / 2
    rows = {line.split()[3]: float(line.split()[-4]) for line in lines[batches:] if line.startswith("step, then solve")}
    assert list(rows) == ["0", "0.01", "0.1", "1", "10", "100", "1000"]
    assert rows["1"] < min(rows["0"], rows["1000"]) / 2
    assert (tmp_path / "losses.png").stat().st_size > 10_000
    for arguments, answer in (
        (["--seeds", "1"], r"^seeds=1 is out of range; accepted: a whole number >= 2$"),
        (["--out", str(tmp_path)], r"^out=.* cannot be written; accepted: a file in a folder that exists$"),
    ):
        with pytest.raises(SystemExit, match=answer):
            example("two_layer_head").main(arguments)


def test_the_bags_of_real_data(monkeypatch, tmp_path, capsys):
    for name in ("mil_musk1", "mil_newsgroups1", "img_mnist_t10k", "ts_anomaly_internalbleeding16"):
        data(name)
    for name in ("ts_ecg200", "ts_lightning2", "sentiment_uci_sentences"):
        data(name)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))  # its parts are modules beside it
    bags = example("bags_of_real_data")
    bags.main(["--data", str(DATA), "--quick", "--figures", str(tmp_path)])
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("## ")] == [
        "## Sets that the default was chosen on",
        "## Sets that it was not chosen on",
        "## MNIST-bags: 2 draws of training bags and of 60 test bags",
        "## A rare event: 40 training and 40 held-out crops, 2 draws",
    ]
    (musk,) = re.findall(r"^\| MUSK1 \| 92 \(47\) \| (\.\d+)", out, re.MULTILINE)
    assert 0.75 < float(musk) < 0.95
    shares = re.findall(r"^\| (?:0\.1|0\.2|0\.5|1) \| (\.\d+|1\.000) ±", out, re.MULTILINE)
    assert len(shares) == 8  # accuracy, then where the attention is, at four amplitudes
    assert float(shares[3]) > 0.85
    names = ("classical-attention", "digits", "digits-attention", "series")
    assert all((tmp_path / f"bags-{name}.png").stat().st_size > 10_000 for name in names)


def test_the_bags_of_real_data_name_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    bags = example("bags_of_real_data")
    with pytest.raises(SystemExit, match=r"img_mnist_t10k is absent; accepted: a folder of data that holds"):
        bags.main(["digits", "--data", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"^figures=.*nowhere' is no folder; accepted: a folder that exists$"):
        bags.main(["--figures", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit):
        bags.main(["poems"])
