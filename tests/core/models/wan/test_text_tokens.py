"""Prompts: cleaned as the models were trained with, and tokenized by files of a local folder."""

import sys
from pathlib import Path

import pytest

from core.errors import ModelFilesError
from core.models.wan.text import clean_prompt
from core.models.wan.text_tokens import load_tokenizer, tokenize, tokenizer_file
from tests.tiny_text import write_tokenizer

SENTENCES = [
    "a castle on a hill with 12 towers",
    "the camera turns left over the quiet town",
    "snow falls; 3.14 nights later the castle is white",
]


@pytest.mark.parametrize(
    ("written", "cleaned"),
    [
        ("a castle", "a castle"),
        ("  a \t castle\r\n\n on\u00a0a\u3000hill ", "a castle on a hill"),
        ("salt &amp; snow", "salt & snow"),
        ("salt &amp;amp; snow", "salt & snow"),
        ("&amp;lt;b&amp;gt;", "<b>"),
        ("1 < 2 &amp;amp; 3", "1 < 2 & 3"),  # ftfy takes text with a < for HTML and leaves it
        ("1 < 2 &amp;amp;amp; 3", "1 < 2 &amp; 3"),
        ("a &amp;nbsp; b", "a b"),
        ("caf\u00c3\u00a9 \u00e2\u20ac\u201c quiet", "caf\u00e9 \u2013 quiet"),  # UTF-8 read as Windows-1252
        ("\u201cquiet\u201d \ufb01re", '"quiet" fire'),
        ("\u57ce\u5821", "\u57ce\u5821"),
        (" \n", ""),
    ],
)
def test_cleaning(written: str, cleaned: str) -> None:
    assert clean_prompt(written) == cleaned


def test_words_and_end_token(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write_tokenizer(tmp_path))
    a, castle, over = (tokenizer.ids(word)[0] for word in ("a", "castle", "over"))
    assert tokenizer.ids("over a castle") == [over, a, castle, 1]
    assert tokenizer.ids("") == [1]
    assert tokenizer.ids("\u57ce")[-2:] == [2, 1]


@pytest.mark.parametrize(
    ("max_tokens", "kept"), [(6, (0, 1, 2, 3, 4)), (5, (0, 1, 2, 3, 4)), (4, (0, 1, 2, 4)), (1, (4,))]
)
def test_a_long_prompt_is_cut_before_its_end_token(tmp_path: Path, max_tokens: int, kept: tuple) -> None:
    tokenizer = load_tokenizer(write_tokenizer(tmp_path))
    whole = tokenizer.ids("over the quiet town")
    assert len(whole) == 5
    tokens = tokenize("over the quiet town", tokenizer, max_tokens=max_tokens)
    assert tokens.num_total == 5
    assert tokens.ids == tuple(whole[i] for i in kept)


def test_settings_in_the_file_do_not_cut_or_pad(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    folder = write_tokenizer(tmp_path)
    plain = load_tokenizer(folder).ids("over the quiet town")
    saved = Tokenizer.from_file(str(folder / "tokenizer.json"))
    saved.enable_truncation(3)
    saved.enable_padding(length=40)
    saved.save(str(folder / "tokenizer.json"))
    assert load_tokenizer(folder).ids("over the quiet town") == plain


def test_a_file_without_post_processor_gets_its_end_token(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, processors

    folder = write_tokenizer(tmp_path)
    saved = Tokenizer.from_file(str(folder / "tokenizer.json"))
    saved.post_processor = processors.Sequence([])
    saved.save(str(folder / "tokenizer.json"))
    assert load_tokenizer(folder).ids("a")[1:] == [1]


@pytest.fixture
def sentencepiece_folder(tmp_path: Path) -> Path:
    import sentencepiece

    folder = tmp_path / "spm"
    folder.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 5),
        model_prefix=str(folder / "spiece"),
        vocab_size=330,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return folder


def test_both_files_of_one_vocabulary_give_the_same_tokens(sentencepiece_folder: Path) -> None:
    """Unknown letters become bytes, as the vocabulary wants it."""
    from sentencepiece import SentencePieceProcessor
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    assert tokenizer_file(sentencepiece_folder).name == "spiece.model"
    alone = load_tokenizer(sentencepiece_folder)
    pieces = SentencePieceProcessor(model_file=str(sentencepiece_folder / "spiece.model"))
    table = [(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(len(pieces))]
    fast = Tokenizer(models.Unigram(table, unk_id=2, byte_fallback=True))
    fast.pre_tokenizer = pre_tokenizers.Metaspace()
    fast.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast.save(str(sentencepiece_folder / "tokenizer.json"))
    assert tokenizer_file(sentencepiece_folder).name == "tokenizer.json"
    both = load_tokenizer(sentencepiece_folder)
    assert both.num_tokens == alone.num_tokens == len(pieces)
    for text in (*SENTENCES, "", "a \u57ce\u5821 on the hill", "caf\u00e9"):
        assert both.ids(text) == alone.ids(text)
        assert 2 not in alone.ids(text)
        assert alone.ids(text)[-1] == 1


@pytest.mark.parametrize("name", ["tokenizer.json", "spiece.model"])
@pytest.mark.parametrize("content", [b"", b'{"version"', b"<html>"])
def test_a_damaged_tokenizer_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelFilesError, match="cannot be read") as error:
        load_tokenizer(tmp_path)
    assert error.value.where == str(tmp_path / name)
    assert "umt5-xxl" in error.value.hint


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match=r"neither tokenizer\.json nor spiece\.model") as error:
        load_tokenizer(tmp_path)
    assert error.value.where == str(tmp_path)


def test_a_tokenizer_without_end_token_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.Unigram([("<unk>", 0.0)], unk_id=0)).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelFilesError, match="knows no end token </s>"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("package", ["ftfy", "tokenizers", "sentencepiece"])
def test_a_missing_package_is_named(tmp_path: Path, monkeypatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / {"tokenizers": "tokenizer.json"}.get(package, "spiece.model")).touch()
    with pytest.raises(ModelFilesError, match=package) as error:
        clean_prompt("x") if package == "ftfy" else load_tokenizer(tmp_path)
    assert error.value.hint == 'pip install "worldkv[wan]"'
