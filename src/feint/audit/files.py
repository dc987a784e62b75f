"""How the files of an audit are called."""

SETTINGS, PAGE, REPORT, JSON = "defense.toml", "audit.html", "report.html", "audit.json"
