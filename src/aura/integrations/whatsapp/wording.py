"""Everything the bot says, in each language; hedged as the report is, and no finding of its own."""

from __future__ import annotations

from typing import Any

DEFAULT = "en"
# What a person writes to change the language.
LANGUAGES = {
    "english": "en",
    "deutsch": "de",
    "german": "de",
    "español": "es",
    "espanol": "es",
    "spanish": "es",
}
ERASE = frozenset({"delete", "erase", "löschen", "loeschen", "borrar"})
# How a person's number begins, or the id of one who hides it (with a country): who is answered in
# the wrong language changes it with a word.
BEGINNINGS = {
    "de": ("49", "43", "41", "423", "DE.", "AT.", "CH.", "LI."),
    "es": (
        *("ES.", "MX.", "AR.", "CO.", "CL.", "PE.", "VE.", "EC.", "GT.", "CU.", "BO.", "UY."),
        *("PY.", "CR.", "PA.", "HN.", "NI.", "SV.", "DO."),
        *("34", "51", "52", "53", "54", "56", "57", "58"),
        *("502", "503", "504", "505", "506", "507", "591", "593", "595", "598"),
    ),
}

TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "received": "Received. You get the answer here as soon as the analysis is done.",
        "help": (
            "Send me a video in which somebody talks, a voice note or a picture: at most "
            "{minutes:g} minutes and {mib} MB. I look at the face, at the voice, and whether lips "
            "and voice belong together, and tell you what I find and what can't be judged."
            "\n\nWrite *Deutsch* or *Español* to change the language, *delete* to erase "
            "everything that you sent."
        ),
        "language": "From now on in English.",
        "erased": "Everything that you sent was erased, {count} analyses with it.",
        "group": "I answer in private chats only. Please send me the video there.",
        "only_media": "That I can't judge. Send me a video in which somebody talks.",
        "limit": "That was your {daily}. analysis of today; more from 00:00 UTC on.",
        "too_long": "The clip is too long: {minutes:g} minutes are allowed. Please cut it.",
        "too_large": "The file is too large: {mib} MB are allowed. Please shorten it.",
        "unreadable": "The file can't be read. Please send it again, or export it anew.",
        "no_video": "The file has no pictures. Please send a video in which somebody talks.",
        "not_fetched": "The file could not be fetched from WhatsApp. Please send it again.",
        "failed": "The analysis did not succeed: {message}.",
        "ours": "Something went wrong on our side, not with your video. We look at it.",
        "progress": "Still at it: {percent} %.",
        "repeated": "You sent this before; the answer is the same.",
        "fake": "*This resembles manipulated recordings.*",
        "real": "*No sign of manipulation was found.* That does not prove that it is genuine.",
        "uncertain": "*No clear answer.*",
        "no_face": "No face could be judged in it.",
        "score": "Score {score:.2f} of 1 (1 = like manipulated recordings)",
        "interval": ", {level:.0%} interval {low:.2f} to {high:.2f}",
        "moment": "Most conspicuous: {start} to {end}.",
        "instant": "Most conspicuous: {start}.",
        "judged": "Judged: {what}.",
        "not_judged": "Not judged: {what}.",
        "visual": "face",
        "temporal": "motion",
        "audio": "voice",
        "sync": "lips with voice",
        "joint": "face with voice",
        "picture": (
            "*A single picture is too little for a verdict.* Faces: {faces}; highest score "
            "{score:.2f} of 1 (1 = like manipulated pictures). A video says more."
        ),
        "picture_no_face": "There is no face in this picture that could be judged.",
        "no_proof": "A score is an indication and no proof; the limits stand in the report.",
        "link": "Report: {link}",
    },
    "de": {
        "received": "Angekommen. Die Antwort kommt hier, sobald die Analyse fertig ist.",
        "help": (
            "Schick mir ein Video, in dem jemand spricht, eine Sprachnachricht oder ein Bild: "
            "höchstens {minutes:g} Minuten und {mib} MB. Ich sehe mir das Gesicht an, höre die "
            "Stimme und prüfe, ob Lippen und Stimme zusammengehören. Dann sage ich, was ich finde "
            "und was sich nicht beurteilen lässt."
            "\n\nSchreib *English* oder *Español*, um die Sprache zu wechseln, *löschen*, um alles "
            "zu löschen, was du geschickt hast."
        ),
        "language": "Ab jetzt auf Deutsch.",
        "erased": "Alles, was du geschickt hast, ist gelöscht, mit {count} Analysen.",
        "group": "Ich antworte nur in Einzelchats. Bitte schick mir das Video dort.",
        "only_media": (
            "Das kann ich nicht beurteilen. Schick mir ein Video, in dem jemand spricht."
        ),
        "limit": "Das war deine {daily}. Analyse heute; weiter geht es ab 00:00 UTC.",
        "too_long": "Der Clip ist zu lang: {minutes:g} Minuten sind erlaubt. Bitte kürze ihn.",
        "too_large": "Die Datei ist zu groß: {mib} MB sind erlaubt. Bitte kürze sie.",
        "unreadable": "Die Datei ist nicht lesbar. Bitte schick sie noch einmal.",
        "no_video": "Die Datei hat kein Bild. Bitte schick ein Video, in dem jemand spricht.",
        "not_fetched": (
            "Die Datei ließ sich nicht von WhatsApp holen. Bitte schick sie noch einmal."
        ),
        "failed": "Die Analyse ist nicht gelungen: {message}.",
        "ours": "Bei uns ist etwas schiefgegangen, nicht an deinem Video. Wir kümmern uns.",
        "progress": "Noch dabei: {percent} %.",
        "repeated": "Das hast du schon geschickt; die Antwort ist dieselbe.",
        "fake": "*Das ähnelt manipulierten Aufnahmen.*",
        "real": (
            "*Kein Anzeichen einer Manipulation gefunden.* Das beweist nicht, dass die Aufnahme "
            "echt ist."
        ),
        "uncertain": "*Keine klare Antwort.*",
        "no_face": "Es war kein Gesicht darin, das sich beurteilen lässt.",
        "score": "Wert {score:.2f} von 1 (1 = wie manipulierte Aufnahmen)",
        "interval": ", {level:.0%}-Intervall {low:.2f} bis {high:.2f}",
        "moment": "Am auffälligsten: {start} bis {end}.",
        "instant": "Am auffälligsten: {start}.",
        "judged": "Beurteilt: {what}.",
        "not_judged": "Nicht beurteilt: {what}.",
        "visual": "Gesicht",
        "temporal": "Bewegung",
        "audio": "Stimme",
        "sync": "Lippen zur Stimme",
        "joint": "Gesicht mit Stimme",
        "picture": (
            "*Ein einzelnes Bild ist zu wenig für ein Urteil.* Gesichter: {faces}; höchster Wert "
            "{score:.2f} von 1 (1 = wie manipulierte Bilder). Ein Video sagt mehr."
        ),
        "picture_no_face": "In diesem Bild ist kein Gesicht, das sich beurteilen lässt.",
        "no_proof": "Ein Wert ist ein Hinweis und kein Beweis; die Grenzen stehen im Bericht.",
        "link": "Bericht: {link}",
    },
    "es": {
        "received": "Recibido. La respuesta llega aquí en cuanto termine el análisis.",
        "help": (
            "Envíame un vídeo en el que alguien hable, una nota de voz o una imagen: como máximo "
            "{minutes:g} minutos y {mib} MB. "
            "Miro la cara, escucho la voz y compruebo si los labios y la voz van juntos; luego "
            "digo qué encuentro y qué no se puede juzgar.\n\nEscribe *English* o *Deutsch* para "
            "cambiar de idioma, *borrar* para borrar todo lo que enviaste."
        ),
        "language": "A partir de ahora en español.",
        "erased": "Se borró todo lo que enviaste, con {count} análisis.",
        "group": "Solo respondo en chats privados. Por favor, envíame el vídeo allí.",
        "only_media": "Eso no lo puedo juzgar. Envíame un vídeo en el que alguien hable.",
        "limit": "Ese fue tu análisis número {daily} de hoy; más a partir de las 00:00 UTC.",
        "too_long": "El vídeo es demasiado largo: se permiten {minutes:g} minutos. Recórtalo.",
        "too_large": "El archivo es demasiado grande: se permiten {mib} MB. Recórtalo.",
        "unreadable": "El archivo no se puede leer. Por favor, envíalo otra vez.",
        "no_video": "El archivo no tiene imágenes. Envía un vídeo en el que alguien hable.",
        "not_fetched": "No se pudo obtener el archivo de WhatsApp. Por favor, envíalo otra vez.",
        "failed": "El análisis no tuvo éxito: {message}.",
        "ours": "Algo falló por nuestra parte, no en tu vídeo. Lo estamos mirando.",
        "progress": "En curso: {percent} %.",
        "repeated": "Ya lo enviaste antes; la respuesta es la misma.",
        "fake": "*Se parece a grabaciones manipuladas.*",
        "real": "*No se encontró ningún indicio de manipulación.* Eso no prueba que sea auténtico.",
        "uncertain": "*No hay una respuesta clara.*",
        "no_face": "No había en él ninguna cara que se pudiera juzgar.",
        "score": "Valor {score:.2f} de 1 (1 = como grabaciones manipuladas)",
        "interval": ", intervalo del {level:.0%} de {low:.2f} a {high:.2f}",
        "moment": "Lo más llamativo: de {start} a {end}.",
        "instant": "Lo más llamativo: {start}.",
        "judged": "Juzgado: {what}.",
        "not_judged": "Sin juzgar: {what}.",
        "visual": "cara",
        "temporal": "movimiento",
        "audio": "voz",
        "sync": "labios con voz",
        "joint": "cara con voz",
        "picture": (
            "*Una sola imagen es muy poco para un veredicto.* Caras: {faces}; valor más alto "
            "{score:.2f} de 1 (1 = como imágenes manipuladas). Un vídeo dice más."
        ),
        "picture_no_face": "En esta imagen no hay ninguna cara que se pueda juzgar.",
        "no_proof": "Un valor es un indicio y no una prueba; los límites están en el informe.",
        "link": "Informe: {link}",
    },
}
# Kinds of errors that a person can do something about.
ERRORS = {
    "too_long": "too_long",
    "too_large": "too_large",
    "unreadable_media": "unreadable",
    "no_picture": "unreadable",
    "empty": "unreadable",
    "input": "unreadable",
    "no_video": "no_video",
}


def language_of_number(address: str) -> str:
    """The language that most people with such a number read.

    >>> language_of_number("4915112345678"), language_of_number("5215512345678")
    ('de', 'es')
    >>> language_of_number("15551234567"), language_of_number("AT.13491208655302741918")
    ('en', 'de')
    """
    for language, codes in BEGINNINGS.items():
        if address.startswith(codes):
            return language
    return DEFAULT


def say(language: str, key: str, **values: Any) -> str:
    """One sentence."""
    return TEXTS.get(language, TEXTS[DEFAULT])[key].format(**values)


def verdict(language: str, report: dict[str, Any], link: str | None) -> str:
    """A report in words: verdict, score, moment, what was judged and what was not, limits."""
    kind = report["provenance"]["input"].get("kind")
    if kind == "image":
        return _picture(language, report, link)
    prediction = report["prediction"]
    lines = [say(language, prediction["overall_class"])]
    score, interval = prediction["manipulation_confidence"], prediction["confidence_interval"]
    if score is not None:
        between = say(language, "interval", **interval) if interval else ""
        lines.append(say(language, "score", score=score) + between + ".")
    if not report["subjects"] and kind != "audio":
        lines.append(say(language, "no_face"))
    lines += _moment(language, prediction)
    judged = [one["modality"] for one in report["detectors"] if one["status"] == "ok"]
    others = [one["modality"] for one in report["detectors"] if one["modality"] not in judged]
    for key, kinds in (("judged", judged), ("not_judged", others)):
        if kinds:
            names = ", ".join(say(language, kind) for kind in dict.fromkeys(kinds))
            lines.append(say(language, key, what=names))
    lines.append(say(language, "no_proof"))
    return "\n".join(lines + _link(language, link))


def _picture(language: str, report: dict[str, Any], link: str | None) -> str:
    faces, score = report["subjects"], report["prediction"]["manipulation_confidence"]
    if not faces or score is None:
        return say(language, "picture_no_face")
    text = say(language, "picture", faces=len(faces), score=score)
    return "\n".join([text, *_link(language, link)])


def _moment(language: str, prediction: dict[str, Any]) -> list[str]:
    """Where to look first, when something stands out."""
    if prediction["segments"]:
        worst = max(prediction["segments"], key=lambda one: one["score"])
        start, end = clock(worst["start"]), clock(worst["end"])
        return [say(language, "moment", start=start, end=end)]
    if prediction["overall_class"] == "fake" and prediction["anomalous_frames"]:
        frames = prediction["anomalous_frames"]
        worst = max(frames, key=lambda one: one["confidence"])
        return [say(language, "instant", start=clock(worst["timestamp"]))]
    return []


def _link(language: str, link: str | None) -> list[str]:
    return [say(language, "link", link=link)] if link else []


def clock(seconds: float) -> str:
    """A time in a clip.

    >>> clock(3.4), clock(75)
    ('0:03', '1:15')
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
