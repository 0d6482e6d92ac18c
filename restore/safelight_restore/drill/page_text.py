"""The words and the style of a drill's report that are the same in every report."""

VERDICTS = {
    0: (
        "the sample came back right",
        (
            "Every object that the snapshots need is in the vault, and every file of the "
            "sample was restored and proved."
        ),
    ),
    1: ("a bug in the program", "Please report it with the log of the run."),
    2: ("a setting is wrong", "Correct what is named below and run the drill again."),
    3: (
        "something is damaged",
        (
            "Treat it as damage or attack: keep the vault as it is, restore what is named below "
            "from an older snapshot or another copy of the vault, and find the cause."
        ),
    ),
    4: ("the identity does not open this vault", "Use an identity that the vault is sealed to."),
    5: (
        "locks fall short",
        (
            "The data is there, and is not protected for as long as was promised: extend the "
            "locks, and find out why that did not happen."
        ),
    ),
    6: (
        "the store could not be reached",
        "Nothing is known to be wrong with the data: run the drill again when the store answers.",
    ),
    7: (
        "not all of it could be done",
        "What was not done is listed below; correct the reason and run the drill again.",
    ),
}

HOW_TO_READ = """<section><h2>How to read this report</h2>
<ul>
<li><b>Objects</b> are the encrypted files of the vault. Each one that the snapshots need was asked
for by name and version; that it is there, of the recorded size and locked, is what the store itself
answered. Its content is proved only by restoring from it.</li>
<li><b>Proved</b> is said of files of the sample only. What is not in the sample was not read in
this drill; successive drills take turns until every file was restored.</li>
<li><b>RTO</b> is the time a restore takes, <b>RPO</b> the age of the newest complete snapshot when
the drill began, both by this machine, this network and this store. What is marked <span
class="tag">extrapolated</span> was calculated from the sample and not measured.</li>
<li><b>Lock coverage</b> is the earliest date on which any object that a snapshot needs loses its
lock. Emulated locks (a vault in a directory) guard against mistakes only and never count.</li>
<li>Studies and files carry <b>pseudonyms</b>: the beginning of a keyed hash, the same in every
drill of this vault. No patient is named on this page.</li>
</ul>
<table class="signatures"><tbody>
<tr><th>Performed by</th><td></td><th>Date</th><td></td></tr>
<tr><th>Reviewed by</th><td></td><th>Date</th><td></td></tr>
<tr><th>Corrective action</th><td colspan="3"></td></tr>
</tbody></table></section>
"""

STYLE = """
:root { --ink: #1d2530; --soft: #5b6675; --line: #d8dee6; --paper: #ffffff; --ground: #f3f5f8;
  --good: #2f7d4f; --bad: #b3261e; --weak: #3d6ea5; --idle: #c3cbd6; --amber: #9a6700; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 960px; margin: 0 auto; padding: 24px 16px 48px; }
header, section { background: var(--paper); border: 1px solid var(--line); border-radius: 8px;
  padding: 20px 24px; margin: 0 0 16px; }
header { border-left: 8px solid var(--good); }
header.failed { border-left-color: var(--bad); }
header h1 { margin: 0 0 8px; font-size: 26px; line-height: 1.25; }
header.passed h1 { color: var(--good); } header.failed h1 { color: var(--bad); }
.kind { margin: 0; color: var(--soft); text-transform: uppercase; letter-spacing: .06em;
  font-size: 12px; }
h2 { margin: 0 0 10px; font-size: 18px; } h3 { margin: 18px 0 6px; font-size: 15px; }
p { margin: 0 0 10px; } .small { color: var(--soft); font-size: 13px; }
.facts { display: grid; grid-template-columns: 12fr 13fr 9fr; gap: 8px 24px; margin: 14px 0 0; }
.facts dt { color: var(--soft); font-size: 12px; }
.facts dd { margin: 0; font-size: 14px; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px;
  padding: 0; background: none; border: 0; }
.card { background: var(--paper); border: 1px solid var(--line); border-top: 4px solid var(--weak);
  border-radius: 8px; padding: 12px 14px; }
.card.fine { border-top-color: var(--good); } .card.poor { border-top-color: var(--bad); }
.card h2 { font-size: 13px; color: var(--soft); margin: 0; font-weight: 600; }
.card p { margin: 0; font-size: 13px; color: var(--soft); }
.card .figure { font-size: 22px; color: var(--ink); font-weight: 600; }
.tag { display: inline-block; border: 1px solid var(--amber); color: var(--amber);
  border-radius: 10px; padding: 0 7px; font-size: 11px; white-space: nowrap; }
.tag.measured { border-color: var(--good); color: var(--good); }
table { border-collapse: collapse; width: 100%; font-size: 13px; margin: 4px 0 10px; }
th, td { text-align: left; vertical-align: top; padding: 5px 8px;
  border-bottom: 1px solid var(--line); }
td { white-space: nowrap; } td.long { white-space: normal; overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: 600; }
.signatures th { width: 16%; } .signatures td { height: 34px; }
.findings { list-style: none; margin: 0; padding: 0; }
.findings li { border-left: 4px solid var(--idle); padding: 4px 10px; margin: 0 0 6px;
  overflow-wrap: anywhere; }
.findings li.damage, .findings li.unlocked { border-color: var(--bad); }
.findings li.incomplete { border-color: var(--amber); }
.findings b { text-transform: uppercase; font-size: 11px; letter-spacing: .04em;
  color: var(--soft); margin-right: 6px; }
svg { display: block; width: 100%; height: auto; margin: 6px 0 10px; }
svg text { font: 12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--ink); }
svg .tick { fill: var(--soft); font-size: 11px; }
svg .grid { stroke: var(--line); } svg .now { stroke: var(--ink); stroke-dasharray: 4 3; }
svg .good { fill: var(--good); } svg .bad { fill: var(--bad); } svg .weak { fill: var(--weak); }
svg .warn { fill: #d49a2a; } svg .idle { fill: var(--idle); }
svg .promise { fill: none; stroke: var(--soft); }
svg .area { fill: var(--weak); opacity: .15; }
svg .curve { fill: none; stroke: var(--weak); stroke-width: 2; }
@media (max-width: 640px) { .facts { grid-template-columns: 1fr; } }
@media print { body { background: #fff; } main { max-width: none; padding: 0; }
  header, section { break-inside: avoid; } }
"""
