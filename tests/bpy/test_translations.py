"""What users of Blender in another language would read wrongly, or not at all."""

from __future__ import annotations

import ast
import importlib.util
import string
from pathlib import Path
from types import ModuleType

import pytest

bpy = pytest.importorskip("bpy")

import blender_addon  # noqa: E402
from blender_addon import translations  # noqa: E402

LANGUAGES = sorted(translations.read_messages())


@pytest.fixture(scope="module")
def lister() -> ModuleType:
    path = Path(blender_addon.__file__).parents[1] / "scripts" / "list_messages.py"
    spec = importlib.util.spec_from_file_location("list_messages", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def places(text: str) -> list[tuple[str | None, str | None]]:
    return sorted((name, form) for _, name, form, _ in string.Formatter().parse(text) if name is not None)


def test_no_translation_is_of_a_text_that_the_addon_has_not(lister: ModuleType) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    messages = lister.all_messages()
    for language in LANGUAGES:
        assert lister.stale(translations.read_messages()[language], messages) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_fills_the_same_places_as_its_text(language: str) -> None:
    for (context, english), translation in translations.read_messages()[language].items():
        assert translation.strip(), english
        assert places(translation) == places(english)
        # Labels and tooltips end without a period, sentences with one.
        assert translation.endswith(".") == english.endswith("."), english
        assert context in ("*", "Operator")


def test_the_list_of_texts_knows_labels_choices_tooltips_and_what_panels_draw(lister: ModuleType) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    messages = lister.all_messages()
    for message in (
        ("Operator", "Sample Points"),  # label of an operator
        ("Operator", "Open Output Folder"),  # entry of a menu
        ("*", "Stop sampling; jobs that run go on"),  # tooltip
        ("*", "Frames and Size"),  # title of a panel
        ("*", "Keep Points"),  # name of a property
        ("*", "The scene's frame range"),  # tooltip of a choice
        ("*", "The points are shown in the camera view."),  # sentence in a panel
        ("*", "{points:,} points, {frames} frames"),  # pattern
        ("*", "Nothing is running"),  # why a button is greyed
    ):
        assert message in messages, message


def test_a_pattern_without_translation_is_filled_in_english() -> None:
    assert translations.filled("{count} of {total}", count=2, total=3) == "2 of 3"


@pytest.fixture
def german(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blender's lookup, as it is where the user has chosen German; the module has no other languages."""
    messages = translations.read_messages()["de"]
    monkeypatch.setattr(translations, "pgettext_iface", lambda text: messages.get(("*", text), text))


def test_an_error_with_names_and_numbers_is_read_in_the_users_language(german: None) -> None:
    assert translations.translated(
        "'Cube' has no vertices on the first frame: choose another object or first frame."
    ) == ("'Cube' hat auf dem ersten Bild keine Vertices: ein anderes Objekt oder erstes Bild wählen.")
    assert translations.translated(
        "The photo /home/me/a b.jpg does not exist: choose the image again under Photo."
    ) == ("/home/me/a b.jpg (Foto) gibt es nicht: das Bild unter Foto noch einmal wählen.")


def test_an_error_within_an_error_is_read_in_the_users_language(german: None) -> None:
    sentence = (
        "The FlexTraj backend is not installed: run 'python3 x' in the FlexTraj folder, or choose the "
        "backend's Python in the add-on's preferences."
    )
    assert translations.translated(sentence).startswith(
        "Das FlexTraj-Backend ist nicht installiert: 'python3 x' im FlexTraj-Ordner ausführen"
    )


def test_the_name_of_an_object_is_never_translated(german: None) -> None:
    assert translations.translated("'Character' is not a camera: choose a camera object.") == (
        "'Character' ist keine Kamera: ein Kameraobjekt wählen."
    )


@pytest.mark.parametrize(
    "sentence", ["", "Nobody knows this: {0}.", "{", "Something broke\nin two lines: see."]
)
def test_a_sentence_that_is_not_known_stays_as_it_is(german: None, sentence: str) -> None:
    assert translations.translated(sentence) == sentence


def test_every_pattern_of_an_error_is_found_again_in_its_sentence(german: None) -> None:
    for pattern, _ in translations._patterns():
        values = tuple(f"value{number}" for number in range(len(places(pattern))))
        found = translations._find_pattern(pattern.format(*values))
        assert found == (pattern, values)


def test_in_english_nothing_changes() -> None:
    sentence = "'Cube' is not a camera: choose a camera object."
    assert translations.translated(sentence) == sentence


def test_every_message_of_an_operator_goes_through_the_translation() -> None:
    folder = Path(blender_addon.__file__).parent / "operators"
    untranslated = [
        f"{path.name}:{argument.lineno}"
        for path in sorted(folder.glob("*.py"))
        for call in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "report"
        for argument in call.args[1:]
        if isinstance(argument, ast.Constant | ast.JoinedStr)
    ]
    assert untranslated == []


def test_what_operators_report_is_read_in_the_users_language(german: None) -> None:
    assert translations.filled("Copied {count} lines", count=7) == "7 Zeilen kopiert"
    sentence = translations.filled("Sampled {points:,} points over {frames} frames", points=2500, frames=49)
    assert sentence == "2,500 Punkte über 49 Einzelbilder abgetastet"
