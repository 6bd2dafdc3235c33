"""Fetch the public-domain training text from Debian packages and cut it into paragraphs.

Two sources, both long out of copyright: the King James Bible (1611) and Jane Austen's six novels (1811-1817). Debian carries
both, so the text can be had on any machine with `apt-get`, without a model hub, a data hub or an account:

    bible-kjv-text         the text, in the compressed form of its own reader
    bible-kjv              that reader; it is run from the unpacked package, nothing is installed
    r-cran-janeaustenr     the novels, one R character vector of lines each

The packages are unpacked in a scratch folder, never installed. `provenance.json` beside the text says what was fetched.

    python corpus.py --out SCRATCH/corpus
"""

import argparse
import hashlib
import json
import re
import subprocess
import zlib
from pathlib import Path

PACKAGES = {
    "bible-kjv-text": "King James Bible, 1611: copyright expired, says the package's copyright file",
    "bible-kjv": "reader program, GPL-2.0-or-later: run to print the text, no part of it enters the model",
    "r-cran-janeaustenr": "novels of Jane Austen (died 1817), public domain; the R package around them is MIT",
}
# An R serialized vector: 'X\n', versions, the encoding's name, then type 16 (character vector) and its length.
R_HEADER = re.compile(rb"X\n.{12}\x00\x00\x00\x05UTF-8\x00\x00\x00\x10(....)", re.DOTALL)
R_MISSING = 0xFFFFFFFF
VERSES_PER_PARAGRAPH = 4
EDITOR = re.compile(r"NOTE|.*Signet Classic|.*Crosbie & Co")  # a modern editor's words after Northanger Abbey: not Austen's
HEADING = re.compile(r"(chapter|volume|finis|the end|by jane austen|by$|jane austen|\(1[78])", re.IGNORECASE)


def main():
    """Fetch, convert and write `<name>.txt` (one paragraph a line) and `provenance.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="scratch folder for packages and text")
    out = parser.parse_args().out
    root, provenance = fetch_packages(out)
    documents = {"kjv": bible_paragraphs(root), **novel_paragraphs(root)}
    for name, paragraphs in documents.items():
        (out / f"{name}.txt").write_text("\n".join(paragraphs) + "\n", encoding="utf-8")
        print(f"{name}: {len(paragraphs)} paragraphs, {sum(map(len, paragraphs))} characters")
    (out / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")


def fetch_packages(out):
    """Download and unpack the packages; returns the unpacked root and what was fetched."""
    downloads, root = out / "packages", out / "unpacked"
    downloads.mkdir(parents=True, exist_ok=True)
    provenance = []
    for package, licence in PACKAGES.items():
        if not any(downloads.glob(f"{package}_*.deb")):
            subprocess.run(["apt-get", "download", package], cwd=downloads, check=True)
        deb = next(downloads.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg", "-x", deb, root], check=True)
        version = subprocess.run(["dpkg-deb", "-f", deb, "Version"], capture_output=True, check=True, text=True).stdout.strip()
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        provenance.append({"package": package, "version": version, "sha256": digest, "licence": licence})
    return root, provenance


def bible_paragraphs(root):
    """The whole Bible, verse numbers removed, a few verses a paragraph; a paragraph never crosses a chapter."""
    reader = root / "usr/bin/bible"
    text = subprocess.run([reader.resolve(), "-f", "Gen1:1-Rev22:21"], cwd=root / "usr/lib", stdin=subprocess.DEVNULL,
                          capture_output=True, check=True, text=True).stdout
    paragraphs, chapter, verses = [], None, []
    for line in text.splitlines():
        match = re.match(r"(\S+?:)\d+\s+(.*)", line)
        if not match:
            continue
        if verses and (match[1] != chapter or len(verses) == VERSES_PER_PARAGRAPH):
            paragraphs.append(" ".join(verses))
            verses = []
        chapter = match[1]
        verses.append(match[2].strip())
    return paragraphs + [" ".join(verses)]


def novel_paragraphs(root):
    """Every novel as `{file name: paragraphs}`, chapter headings and title pages dropped, italics' underscores removed."""
    data = (root / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes()
    novels = {}
    for lines in r_character_vectors(data):
        joined = re.sub(r"\n{2,}", "\n\n", "\n".join(line.strip() for line in lines))
        paragraphs = [" ".join(block.split()).replace("_", "") for block in joined.split("\n\n")]
        title = next(paragraph for paragraph in paragraphs if paragraph)
        name = "austen-" + re.split(r"\s+by\s+", title, flags=re.IGNORECASE)[0].lower().replace(" ", "-")
        novels[name] = [p for p in paragraphs if len(p) > 1 and p != p.upper()
                        and not HEADING.match(p) and not EDITOR.match(p)]
    return novels


def r_character_vectors(data):
    """The character vectors of an R lazy-load data base: chunks of a four-byte length and a zlib stream."""
    offset = 0
    while offset < len(data):
        stream = zlib.decompressobj()
        chunk = stream.decompress(data[offset + 4:])
        offset = len(data) - len(stream.unused_data)
        header = R_HEADER.match(chunk)
        if header:
            yield r_strings(chunk, header.end(), int.from_bytes(header[1], "big"))


def r_strings(chunk, at, count):
    """`count` R strings from byte `at`: four bytes of flags, four of length, the bytes."""
    strings = []
    for _ in range(count):
        length = int.from_bytes(chunk[at + 4:at + 8], "big")
        at += 8
        if length == R_MISSING:
            continue
        strings.append(chunk[at:at + length].decode("utf-8"))
        at += length
    return strings


if __name__ == "__main__":
    main()
