"""Tables beyond memory: read block by block, sampled, and trained on in shuffled chunks."""

from .sample import Sample, sample_of
from .source import Source, source_of
from .stream import Stream

__all__ = ["Sample", "Source", "Stream", "sample_of", "source_of"]
