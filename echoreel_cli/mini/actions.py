"""The named actions of the small world, each a loop of a few key poses.

Held-out actions are never shown to the video model, neither as pictures nor as words; only the retriever and the judge know them.
"""
# ruff: noqa: E501  one row an action: the table is read down its columns

from __future__ import annotations

from dataclasses import dataclass

from echoreel_cli.mini.motion import Motion, alternating, loop, pose

HELD_OUT = ("backflip", "cartwheel", "jumping jack", "push-up", "handstand", "side kick", "burpee", "sumo squat")
"""Names of the actions that the video model never sees in training."""


@dataclass(frozen=True, slots=True)
class Action:
    """A named action: how it goes and how people say it."""

    name: str
    phrases: tuple[str, ...]
    motion: Motion

    @property
    def held_out(self) -> bool:
        """Whether the video model must never see it in training."""
        return self.name in HELD_OUT


def _catalogue() -> tuple[Action, ...]:
    stand = pose()
    lying = pose(pitch=-90, sp=5)
    fours = pose(pitch=70, h=70, k=85, s=80, e=0)
    walk = pose(lh=28, lk=5, rh=-22, rk=12, ls=-24, rs=24, e=20)
    walk_mid = pose(lh=2, lk=2, rh=14, rk=45, e=20)
    run = pose(lh=62, lk=70, rh=-30, rk=45, ls=-45, rs=45, e=85, pitch=14)
    run_mid = pose(lh=10, lk=25, rh=10, rk=100, e=85, pitch=14, lift=0.05)
    rows = (
        # gaits
        ("walk", ("walking", "taking a walk"), alternating("side", 1.0, walk, walk_mid)),
        ("run", ("running", "sprinting"), alternating("side", 1.3, run, run_mid)),
        ("march", ("marching", "marching like a soldier"), alternating("side", 1.0, pose(lh=92, lk=90, rs=75, ls=-30, e=0), pose(e=0))),
        ("skip", ("skipping along",), loop("side", 1.0, {
            0.0: stand, 0.25: pose(lh=80, lk=85, rs=90, lift=0.25), 0.5: stand, 0.75: pose(rh=80, rk=85, ls=90, lift=0.25)})),
        ("butt kick", ("kicking their heels up", "doing butt kicks"), alternating("side", 1.2, pose(lk=130, lh=-5, e=90, s=10), pose(lk=30, rk=30, e=90, s=10))),
        ("crawl", ("crawling", "crawling on hands and knees"), alternating("side", 1.0, pose(pitch=75, lh=95, lk=80, rh=50, rk=80, ls=50, rs=105, e=0))),
        # jumps
        ("jump", ("jumping", "jumping up and down"), loop("front", 1.2, {
            0.0: pose(h=45, k=75, bend=20, s=-30), 0.35: pose(s=170, lift=0.35), 0.7: pose(s=100, lift=0.05)})),
        ("frog jump", ("jumping like a frog", "doing frog jumps"), loop("side", 1.0, {
            0.0: pose(h=115, k=140, bend=30, s=30, pitch=10), 0.35: pose(s=150, h=-15, k=10, pitch=25, lift=0.4), 0.7: pose(h=60, k=60, s=80, lift=0.12)})),
        ("tuck jump", ("doing a tuck jump", "tuck jumping"), loop("side", 1.1, {
            0.0: pose(h=30, k=50, bend=10), 0.4: pose(h=125, k=135, s=70, e=40, lift=0.45), 0.8: stand})),
        # legs
        ("squat", ("squatting", "doing squats"), loop("side", 0.9, {0.0: pose(s=85), 0.5: pose(h=105, k=120, bend=35, s=85)})),
        ("lunge", ("lunging", "doing lunges"), loop("side", 0.9, {
            0.0: stand, 0.25: pose(lh=85, lk=90, rh=-35, rk=60), 0.5: stand, 0.75: pose(rh=85, rk=90, lh=-35, lk=60)})),
        ("front kick", ("kicking", "doing a front kick"), loop("side", 1.0, {
            0.0: pose(e=100, s=30), 0.25: pose(lh=80, lk=100, e=100, s=30), 0.45: pose(lh=105, lk=0, e=100, s=30, pitch=-12), 0.75: pose(lh=40, lk=70, e=100, s=30)})),
        ("knee strike", ("doing knee strikes",), alternating("side", 1.1, pose(lh=120, lk=125, s=70, e=70, bend=10), pose(s=110, e=40))),
        ("leg swing", ("swinging one leg",), loop("side", 0.9, {0.0: pose(lh=75, sp=40), 0.5: pose(lh=-50, sp=40, pitch=8)})),
        # arms
        ("wave", ("waving", "waving hello"), loop("front", 1.6, {0.0: pose(rsp=100, rel=55), 0.5: pose(rsp=100, rel=105)})),
        ("clap", ("clapping", "clapping their hands"), loop("front", 1.6, {0.0: pose(s=80, sp=60, e=10), 0.5: pose(s=80, sp=-18, e=5)})),
        ("punch", ("punching", "boxing"), alternating("side", 1.4, pose(ls=92, le=0, rs=40, re=130, bend=8), pose(s=50, e=120, bend=8))),
        ("throw", ("throwing a ball", "throwing"), loop("side", 1.0, {
            0.0: pose(rs=-60, re=60, pitch=-8), 0.3: pose(rs=200, re=70, pitch=-12, lh=30, lk=20), 0.5: pose(rs=100, re=5, pitch=14), 0.8: pose(rs=10)})),
        ("arm circle", ("doing arm circles", "swinging their arms in circles"), loop("side", 1.1, {
            0.0: pose(s=0, e=0), 1.0: pose(s=360, e=0)})),
        ("flap", ("flapping their arms", "flapping like a bird"), loop("front", 1.5, {0.0: pose(sp=125, el=-10), 0.5: pose(sp=35, el=15)})),
        ("lateral raise", ("raising their arms sideways",), loop("front", 0.8, {0.0: pose(sp=6, e=0), 0.5: pose(sp=90, e=0)})),
        ("overhead press", ("pressing weights overhead", "lifting weights"), loop("front", 0.9, {
            0.0: pose(sp=60, el=110), 0.5: pose(sp=165, el=10)})),
        ("curl", ("doing biceps curls", "curling weights"), loop("side", 1.0, {0.0: pose(e=10, s=0), 0.5: pose(e=145, s=15)})),
        ("salute", ("saluting",), loop("front", 0.8, {0.0: stand, 0.35: pose(rsp=85, rel=128), 0.7: pose(rsp=85, rel=128)})),
        ("point up", ("pointing at the sky",), loop("front", 0.9, {0.0: stand, 0.3: pose(lsp=160, hp=12), 0.6: pose(lsp=160, hp=12)})),
        # trunk
        ("toe touch", ("touching their toes",), loop("side", 0.8, {0.0: pose(s=160), 0.5: pose(bend=105, s=75, e=0)})),
        ("side bend", ("bending from side to side",), alternating("front", 0.9, pose(side=35, lsp=15, rsp=165), pose(sp=90))),
        ("twist", ("twisting their body", "doing torso twists"), loop("front", 1.0, {0.0: pose(spin=-70, sp=88), 0.5: pose(spin=70, sp=88)})),
        ("pirouette", ("spinning around", "doing a pirouette"), loop("front", 0.9, {
            0.0: pose(spin=0, sp=150, el=25, lh=55, lhp=45, lk=110), 1.0: pose(spin=360, sp=150, el=25, lh=55, lhp=45, lk=110)})),
        ("headbang", ("banging their head", "headbanging"), loop("side", 1.5, {0.0: pose(nod=-15, bend=15, k=15, h=10, e=60), 0.5: pose(nod=50, bend=50, k=25, h=18, e=60)})),
        ("sway", ("swaying", "swaying to the music"), alternating("front", 1.0, pose(roll=14, side=8, sp=40, el=60), pose(sp=40, el=60, k=12, h=8))),
        ("bow", ("bowing", "taking a bow"), loop("side", 0.8, {0.0: stand, 0.45: pose(bend=75, nod=15, s=-15), 0.6: pose(bend=75, nod=15, s=-15)})),
        # on the ground
        ("sit-up", ("doing sit-ups",), loop("side", 0.9, {0.0: pose(pitch=-90, h=45, k=90, s=150, e=120), 0.5: pose(pitch=-90, bend=85, h=60, k=95, s=150, e=120)})),
        ("leg raise", ("doing leg raises",), loop("side", 0.8, {0.0: lying, 0.5: pose(pitch=-90, h=90)})),
        ("air cycling", ("cycling in the air",), alternating("side", 1.2, pose(pitch=-90, lh=110, lk=110, rh=50, rk=15))),
        ("glute bridge", ("doing glute bridges",), loop("side", 0.9, {0.0: pose(pitch=-90, h=50, k=105), 0.5: pose(pitch=-122, h=0, k=92, nod=25)})),
        ("mountain climber", ("doing mountain climbers",), alternating("side", 1.3, pose(pitch=68, lh=105, lk=105, rh=0, s=72, e=0))),
        ("donkey kick", ("doing donkey kicks",), loop("side", 0.9, {0.0: fours, 0.5: pose(pitch=70, lh=70, lk=85, rh=-35, rk=20, s=80, e=0)})),
        ("row", ("rowing", "rowing a boat"), loop("side", 0.9, {0.0: pose(h=90, k=15, bend=35, s=80), 0.5: pose(pitch=-10, h=100, k=35, bend=-10, s=10, e=110)})),
        ("swim", ("swimming",), alternating("side", 1.1, pose(pitch=86, ls=175, rs=-10, lh=14, rh=-14, nod=-20, lift=0.35), pose(pitch=86, ls=80, rs=260, nod=-20, lift=0.35))),
        # whole turns
        ("forward roll", ("doing a forward roll", "rolling forwards"), loop("side", 0.9, {
            0.0: pose(h=120, k=140, bend=40, s=60), 1.0: pose(pitch=360, h=120, k=140, bend=40, s=60)}, starts_anywhere=False)),
        ("front flip", ("doing a front flip", "front flipping"), loop("side", 0.9, {
            0.0: pose(h=35, k=60, s=-30), 0.2: pose(pitch=30, s=165, lift=0.3), 0.5: pose(pitch=185, h=120, k=130, bend=35, s=60, e=60, lift=0.75),
            0.8: pose(pitch=335, h=50, k=50, s=60, lift=0.25), 1.0: pose(pitch=360, h=35, k=60, s=-30)}, starts_anywhere=False)),
        # held out
        ("backflip", ("doing a backflip", "backflipping", "performing a backflip"), loop("side", 0.9, {
            0.0: pose(h=35, k=60, s=-40), 0.2: pose(pitch=-25, s=170, lift=0.3), 0.5: pose(pitch=-180, h=115, k=125, bend=20, s=70, e=40, lift=0.75),
            0.8: pose(pitch=-325, h=40, k=40, s=110, lift=0.25), 1.0: pose(pitch=-360, h=35, k=60, s=-40)}, starts_anywhere=False)),
        ("cartwheel", ("doing a cartwheel", "cartwheeling", "turning a cartwheel"), loop("front", 0.85, {
            0.0: pose(sp=160, e=0, hp=25, roll=0), 1.0: pose(sp=160, e=0, hp=25, roll=-360)}, starts_anywhere=False)),
        ("jumping jack", ("doing jumping jacks", "doing a jumping jack"), loop("front", 1.2, {
            0.0: pose(sp=6, hp=2, e=0), 0.25: pose(sp=90, hp=18, e=0, lift=0.15), 0.5: pose(sp=172, hp=30, e=0), 0.75: pose(sp=90, hp=18, e=0, lift=0.15)})),
        ("push-up", ("doing push-ups", "doing a push-up"), loop("side", 1.0, {0.0: pose(pitch=66, s=70, e=0, nod=-25), 0.5: pose(pitch=82, s=5, e=110, nod=-25)})),
        ("handstand", ("doing a handstand", "standing on their hands"), loop("side", 0.9, {
            0.0: pose(pitch=180, s=180, e=0, lh=25, rh=-25), 0.5: pose(pitch=180, s=180, e=0, lh=-25, rh=25)})),
        ("side kick", ("doing a side kick", "kicking sideways"), loop("front", 1.0, {
            0.0: pose(e=100, s=30), 0.3: pose(lhp=60, lk=95, e=100, s=30, roll=-8), 0.5: pose(lhp=92, lk=0, e=100, s=30, roll=-22), 0.75: pose(lhp=35, lk=60, e=100, s=30)})),
        ("burpee", ("doing burpees", "doing a burpee"), loop("side", 0.85, {
            0.0: pose(s=165, e=0), 0.3: pose(h=120, k=125, bend=45, s=75, e=0), 0.5: pose(pitch=68, s=75, e=0), 0.7: pose(h=120, k=125, bend=45, s=75, e=0)})),
        ("sumo squat", ("doing sumo squats", "squatting like a sumo wrestler"), loop("front", 0.9, {
            0.0: pose(hp=32, sp=55, el=75), 0.5: pose(hp=65, h=40, k=95, sp=55, el=75)})),
    )  # fmt: skip
    return tuple(Action(name, phrases, motion) for name, phrases, motion in rows)


ACTIONS: tuple[Action, ...] = _catalogue()
"""All named actions; the order is the order of the judge's classes."""

SEEN: tuple[Action, ...] = tuple(action for action in ACTIONS if not action.held_out)

_BY_NAME = {action.name: action for action in ACTIONS}


def action_named(name: str) -> Action:
    """The action of that name; ValueError names what there is."""
    if name not in _BY_NAME:
        raise ValueError(f"no action is called {name!r}; known are {', '.join(_BY_NAME)}")
    return _BY_NAME[name]
