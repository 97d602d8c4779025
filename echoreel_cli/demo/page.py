"""The story as one HTML file with everything in it: no request leaves the reader's machine, and it still works in ten years."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from echoreel_cli import __version__
from echoreel_cli.demo.embed import mosaic, picture_uri, video_uri
from echoreel_cli.demo.nouns import Found, Frames, Result, Scene, Story
from echoreel_cli.mini.footage import Footage

WALL_COLUMNS = 16
STAGE_WORDS = {
    "load": "loading the weights",
    "draw": "drawing the videos",
    "index": "indexing",
    "search": "searching",
    "generate": "generating",
    "write": "writing this page",
}


def page(story: Story) -> str:
    """The whole file."""
    clips, k = len(story.footage), story.plan.k
    shown = "one clip" if k == 1 else f"{k} clips"
    title = "echoreel demo: " + ", ".join(scene.prompt for scene in story.scenes)
    scenes = "\n".join(_scene(story, number, scene) for number, scene in enumerate(story.scenes, start=1))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{_asset("page.css")}</style>
</head>
<body>
<header class="top">
<p class="mark">echo<b>reel</b></p>
<h1>Same model, same seed.<br>One run was shown how.</h1>
<p class="lead">For each prompt, echoreel searched {clips} unnamed video files, took {shown} that it thought fit, and let a frozen
video model watch them while it drew. Nothing was trained for this page; all of it was computed on this machine in
{_seconds(sum(story.seconds.values()))}.</p>
</header>
<main>
{scenes}
{_library(story)}
{_facts(story)}
{_next(story)}
</main>
<footer>echoreel {escape(__version__)}</footer>
<script>{_asset("page.js")}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return files("echoreel_cli.demo").joinpath(name).read_text(encoding="utf-8")


def _scene(story: Story, number: int, scene: Scene) -> str:
    count = len(scene.found)
    clips = "this clip" if count == 1 else f"these {count} clips"
    found = "\n".join(_found(place, one, scene) for place, one in enumerate(scene.found, start=1))
    strips = [_strip("Alone", "k = 0", "alone", scene.alone.frames), _strip("Shown how", f"k = {count}", "led", scene.led.frames)]
    strips += [_strip(f"Clip {place}", one.truth.file, "seen", one.frames) for place, one in enumerate(scene.found, start=1)]
    columns = max(len(scene.alone.frames), len(scene.led.frames), *(len(one.frames) for one in scene.found))
    return f"""<section class="scene" id="prompt-{number}" data-fps="{scene.led.record.fps:g}" style="--frames:{columns}">
<p class="eyebrow">Prompt {number}{_badge(scene)}</p>
<h2>{escape(scene.prompt)}</h2>
{_about(scene)}
<div class="stage">
{_screen("alone", "The model alone", scene.alone)}
<div class="joined">
{_screen("led", "Shown how", scene.led)}
<div class="found"><h3>It watched {clips}</h3><ol>
{found}
</ol></div>
</div>
</div>
<div class="transport" hidden>
<button type="button" data-do="play" aria-label="Play or pause"></button>
<button type="button" data-do="back" aria-label="One frame back">&#8249;</button>
<button type="button" data-do="on" aria-label="One frame on">&#8250;</button>
<input type="range" min="0" max="{columns - 1}" value="0" aria-label="Frame">
<output></output>
</div>
<div class="strips">
{chr(10).join(strips)}
</div>
</section>"""


def _badge(scene: Scene) -> str:
    if scene.action is None:
        return ""
    return '<span class="badge">never trained on it</span>' if scene.action.held_out else '<span class="badge plain">trained on it</span>'


def _about(scene: Scene) -> str:
    if scene.action is None:
        return ""
    if scene.action.held_out:
        words = "The video model has met neither a picture nor a word of this action. Only the search knows what it looks like."
    else:
        words = "The video model was trained on this action. Held-out ones, such as a backflip, show more."
    return f'<p class="about">{words}</p>'


def _screen(kind: str, title: str, result: Result) -> str:
    record = result.record
    h, w = result.frames.shape[1:3]
    spent = _seconds(sum(record.timings.values()))
    plural = "" if len(record.references) == 1 else "s"
    words = f"{len(record.references)} clip{plural}" if record.references else "no clips"
    first = picture_uri(result.frames[0])
    return f"""<figure class="screen {kind}">
<div class="glass" style="aspect-ratio:{w}/{h}"><img src="{first}" alt="first frame"><canvas width="{w}" height="{h}"></canvas></div>
<figcaption><b>{title}</b><span>{words}, seed {record.seed}, {spent},
<a download="{escape(result.path.name)}" href="{video_uri(result.path)}">MP4</a></span></figcaption>
</figure>"""


def _found(place: int, found: Found, scene: Scene) -> str:
    reference = found.reference
    start, end = reference.start, reference.end
    fits = scene.action is not None and found.truth.action == scene.action.name
    verdict = "" if scene.action is None else "yes" if fits else "no"
    score = "" if reference.score is None else f"{reference.score:.3f}"
    width = 0.0 if reference.score is None else 100 * max(0.0, min(1.0, reference.score))
    return f"""<li>
<video src="{video_uri(reference.path)}" data-start="{start:g}" data-end="{end:g}" autoplay loop muted playsinline></video>
<div><p class="name"><span>{place}</span> {escape(found.truth.file)}</p>
<p class="score" title="cosine of the prompt and the clip"><i style="width:{width:.1f}%"></i><b>{score}</b></p>
<p class="small">{start:.2f}&ndash;{end:.2f} s</p>
<p class="small truth {verdict}">in truth: {escape(found.truth.action)}</p></div>
</li>"""


def _strip(title: str, words: str, kind: str, frames: Frames) -> str:
    cells = "".join(
        f'<img src="{picture_uri(frame)}" alt="{escape(title)}, frame {number}">' for number, frame in enumerate(frames, start=1)
    )
    return f'<div class="strip {kind}"><p><b>{escape(title)}</b> <span>{escape(words)}</span></p><div class="cells">{cells}</div></div>'


def _library(story: Story) -> str:
    columns = min(WALL_COLUMNS, len(story.footage))
    rows = -(-len(story.footage) // columns)
    used: dict[str, list[str]] = {}
    for number, scene in enumerate(story.scenes, start=1):
        for place, found in enumerate(scene.found, start=1):
            used.setdefault(found.truth.file, []).append(f"{number}.{place}")
    cells = "".join(_cell(number, shot, used.get(shot.file), columns, rows) for number, shot in enumerate(story.footage))
    h, w = story.wall.shape[1:3]
    actions = len({shot.action for shot in story.footage})
    return f"""<section class="library">
<h2>The library</h2>
<p class="about">{len(story.footage)} files drawn for this page: {actions} actions by people of all builds and colours. No name, caption or
tag says what a file shows; the search looked at pictures only. Marked are the clips that it chose, as prompt.rank; point at a
picture to read what it truly shows.</p>
<div class="wall">
<img src="{picture_uri(mosaic(story.wall, columns))}" width="{columns * w}" height="{rows * h}" alt="one frame of each file">
{cells}</div>
</section>"""


def _cell(number: int, shot: Footage, marks: Sequence[str] | None, columns: int, rows: int) -> str:
    row, column = divmod(number, columns)
    place = f"left:{100 * column / columns:.3f}%;top:{100 * row / rows:.3f}%;width:{100 / columns:.3f}%;height:{100 / rows:.3f}%"
    label = f"<b>{', '.join(marks)}</b>" if marks else ""
    return f'<div class="{"chosen" if marks else ""}" style="{place}" title="{escape(shot.file)}: {escape(shot.action)}">{label}</div>'


def _facts(story: Story) -> str:
    sampling, plan = story.sampling, story.plan
    total = sum(story.seconds.values()) or 1.0
    bars = "".join(f'<i class="{stage}" style="flex-grow:{spent / total:.5f}"></i>' for stage, spent in story.seconds.items())
    legend = "".join(
        f'<li><i class="{stage}"></i>{STAGE_WORDS[stage]} <b>{_seconds(spent)}</b></li>' for stage, spent in story.seconds.items()
    )
    rows = (
        ("Video model", f"{story.info.name}, frozen"),
        ("Video", f"{sampling.frames} frames of {sampling.width} by {sampling.height} pixels, {sampling.fps:g} a second"),
        ("Sampling", f"{sampling.steps} steps, guidance {sampling.guidance:g}, seed {sampling.seed}"),
        ("Action guidance", f"{sampling.action_guidance:g}"),
        ("Library", f"{len(story.footage)} files, encoder {story.info.encoder}, {plan.k} clips for each prompt"),
        ("Machine", f"{plan.device}, {plan.dtype}"),
    )
    table = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return f"""<section class="facts">
<h2>How it was made</h2>
<dl>{table}</dl>
<div class="times">{bars}</div>
<ul class="legend">{legend}</ul>
</section>"""


def _next(story: Story) -> str:
    library, first = str(story.plan.folder.library), story.scenes[0]
    here = [
        f"echoreel gen {shlex.quote('a person doing jumping jacks')} --library {shlex.quote(library)} --sheet",
        f"echoreel search {shlex.quote('a person standing on their hands')} --library {shlex.quote(library)}",
        f"echoreel show {shlex.quote(str(first.led.path))}",
        f"echoreel gen --from {shlex.quote(str(first.led.path.with_suffix('.json')))} -o again.mp4",
    ]
    own = [
        "echoreel index ~/videos",
        f"echoreel search {shlex.quote(first.prompt)}",
        "echoreel models pull echoreel-lvdm",
        f"echoreel gen {shlex.quote(first.prompt)} --k 3 --model echoreel-lvdm -o mine.mp4",
    ]
    return f"""<section class="next">
<h2>Go on</h2>
<div class="ways">
<div><h3>In this little world</h3>
<p class="about">Ask its library for something else, read how a video was made, and make the same bytes again.</p>
{_commands(here)}</div>
<div><h3>On your own videos</h3>
<p class="about">The first line fetches an encoder for real pictures, once; the third the published weights of EchoReel, which
want a GPU.</p>
{_commands(own)}</div>
</div>
</section>"""


def _commands(lines: Sequence[str]) -> str:
    text = "\n".join(f"<span>{escape(line)}</span>" for line in lines)
    return f'<div class="commands"><pre><code>{text}</code></pre><button type="button" data-do="copy" hidden>Copy</button></div>'


def _seconds(value: float) -> str:
    if value < 10:
        return f"{value:.1f} s"
    return f"{value:.0f} s" if value < 120 else f"{int(value // 60)} min {int(value % 60)} s"
