"""Hooks of mkdocs: leave out files that are no pages, and lead links that leave docs/ to the repository."""

import os
import re

LEFT_OUT = (".go", ".py")
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def on_files(files, config):
    for file in [f for f in files if f.src_path.endswith(LEFT_OUT)]:
        files.remove(file)
    return files


def on_page_markdown(markdown, page, config, files):
    docs = os.path.realpath(config["docs_dir"])
    root = os.path.dirname(docs)
    here = os.path.dirname(os.path.join(docs, page.file.src_path))

    def lead(match):
        before, path, anchor, after = match.groups()
        if re.match(r"[a-z]+:", path):
            return match.group(0)
        target = os.path.normpath(os.path.join(here, path))
        if target.startswith(docs + os.sep):
            return match.group(0)
        kind = "tree" if os.path.isdir(target) else "blob"
        url = f"{config['repo_url']}/{kind}/main/{os.path.relpath(target, root)}"
        return before + url + (anchor or "") + after

    return LINK.sub(lead, markdown)
