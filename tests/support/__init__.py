"""What several tests share: builders, peers, phantoms, and where the project lies."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The project's folder."""

BUNDLE = ROOT / "models" / "bundles" / "ich-ensemble"
"""The networks that ichnode ships."""
