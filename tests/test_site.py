"The site: links and names in the prose exist, headings are in order, and the map lists every page."
import importlib, inspect, json, re, subprocess, sys
from pathlib import Path
import pytest, yaml
from resnet_pets.runs import RUN_FILES
from test_project import MODULES, NOTEBOOKS, ROOT, SETTINGS, code

TEXTS = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'benchmarks/README.md']
SITE = '{doc_host}{doc_baseurl}/'.format(**SETTINGS['DEFAULT'])
FENCE = re.compile(r'^ *(`{3,}|~{3,}).*?^ *\1', re.M | re.S)

def prose(cells)->str: # the Markdown of a notebook and of its outputs, without code blocks
    def texts(cell): return [cell['source']] if cell['cell_type'] == 'markdown' else [o['data']['text/markdown'] for o in cell.get('outputs', []) if 'text/markdown' in o.get('data', {})]
    return FENCE.sub('', '\n\n'.join(''.join(t) for c in cells for t in texts(c)))

def cells(path:Path)->list[dict]: return json.loads(path.read_text(encoding='utf-8'))['cells']

@pytest.fixture(scope='session')
def pages(copy)->dict: # notebook → the cells of its page, as nbdev passes them to Quarto
    script = "if __name__ == '__main__':\n from nbdev.serve import proc_nbs\n proc_nbs(force=True, n_workers=2)"
    done = subprocess.run([sys.executable, '-c', script], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout+done.stderr
    return {p: cells(copy/'_proc'/p.relative_to(ROOT/'nbs')) for p in NOTEBOOKS}

def test_input_of_quarto(pages, copy):
    "What `nbdev_docs` does before it calls Quarto. (`nbdev_docs` itself would install Quarto.)"
    for path,page in pages.items(): assert page and not any(o['output_type'] == 'error' for c in page for o in c.get('outputs', [])), path
    assert all((copy/'_proc'/name).exists() for name in ('_quarto.yml', 'styles.css', 'theme.scss'))

def anchors(text:str)->set[str]: # those that pandoc makes of headings, and explicit ones
    def slug(title): return re.sub(r'\s+', '-', re.sub(r'[^\w\s.-]', '', re.sub(r'\{.*?\}|\]\(.*?\)', '', title).strip().lower()))
    return {re.sub(r'^[^a-z]+', '', slug(t)) for t in re.findall(r'^#{1,6} +(.*?)#*$', text, re.M)} | set(re.findall(r'\{#([\w-]+)', text))

def links(text:str)->list[str]: # in Markdown and HTML, except those to other sites
    found = re.findall(r'\]\(<?([^)\s>]+)', text) + re.findall(r'(?:href|src)="([^"]+)"', text)
    return [l for l in found if l.startswith(SITE) or not re.match(r'[a-z]+:|//', l)]

def source(name:str)->Path|None: # the notebook of a page of the site, whose name lacks the number
    return next((p for p in NOTEBOOKS if name == p.relative_to(ROOT/'nbs').with_name(re.sub(r'^\d+[a-z]*_', '', p.stem)+'.html').as_posix()), None)

def dead(text:str, folder:Path, pages:dict)->list[str]: # the broken links in a text
    def is_dead(link):
        name,_,anchor = link.partition('#')
        path = source(name.removeprefix(SITE)) if name.startswith(SITE) else (folder/name).resolve() if name else None
        if not name: page = text
        elif path is None: page = None
        elif path.suffix == '.ipynb': page = prose(pages[path]) if path in pages else None
        else: page = path.read_text(encoding='utf-8') if path.suffix == '.md' and path.exists() else '' if path.exists() else None
        return page is None or bool(anchor) and anchor not in anchors(page)
    return [l for l in links(text) if is_dead(l)]

@pytest.mark.parametrize('name', TEXTS)
def test_links_of_texts(name, pages): assert not dead(FENCE.sub('', (ROOT/name).read_text(encoding='utf-8')), (ROOT/name).parent, pages)

@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_links_of_pages(path, pages): assert not dead(prose(pages[path]), path.parent, pages)

@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_headings_are_in_order(path, pages):
    "The title becomes the page's only first-level heading; below it no level is skipped."
    assert re.fullmatch(r'# [^\n]+\n\n> [^\n]+', ''.join(cells(path)[0]['source'])), 'nbdev drops whatever follows title and description in the first cell'
    assert len(re.findall(r'^# ', prose(cells(path)), re.M)) == 1
    levels = [1, *(len(h) for h in re.findall(r'^(#{1,6}) ', prose(pages[path]), re.M))]
    assert 1 not in levels[1:] and all(b-a <= 1 for a,b in zip(levels, levels[1:]))

def test_the_reference_is_current():
    "The site shows the stored output."
    text = prose(cells(ROOT/'nbs/reference.ipynb'))
    for module in MODULES:
        loaded = importlib.import_module(f'resnet_pets.{module}')
        for name in loaded.__all__:
            thing = getattr(loaded, name)
            if (inspect.isfunction(thing) or inspect.isclass(thing)) and thing.__module__ == loaded.__name__: assert f'| [{name}](' in text, name

def members(thing)->set[str]: # attributes and parameters
    found = set(dir(thing)) | set(getattr(thing, 'model_fields', {})) | set(getattr(thing, '__annotations__', {})) if inspect.isclass(thing) else set()
    if inspect.isclass(thing): found |= set(re.findall(r'self\.(\w+)', inspect.getsource(thing))) if thing.__module__.startswith('resnet_pets') and not issubclass(thing, tuple) else set()
    if not callable(thing): return found
    try: return found | set(inspect.signature(thing).parameters)
    except (ValueError, TypeError): return found

@pytest.fixture(scope='module')
def named()->dict: # public name → what may follow it
    modules = [importlib.import_module(f'resnet_pets.{m}') for m in MODULES]
    return {name: members(thing) for m in modules for name,thing in vars(m).items()}

OTHER_WORDS = set('make torchrun nbdev_clean nbdev_docs nbdev_export nbdev_test trainval ipywidgets interact feature_info default_cfg reshape_transform'.split())    # commands, and names of other libraries

@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_names_exist(path, named):
    "What the prose sets as code is a name of the package or of the code on the page, a module, a file, or one of `OTHER_WORDS`."
    known = set(named).union(*named.values(), MODULES, OTHER_WORDS, *(re.findall(r'[A-Za-z_]\w*', source) for source in code(path)))
    lost = []
    for text in re.findall(r'`([\w.]+)(?:\(.*?\))?`', prose([c for c in cells(path) if c['cell_type'] == 'markdown'])):
        if text in RUN_FILES or (path.parent/text).exists() or (ROOT/text).exists(): continue
        first,*rest = re.findall(r'[A-Za-z_]\w*', re.sub(r'\.json$', '', text)) or ['']
        if first and not ({first, *rest} <= known and (len(rest) != 1 or not named.get(first) or rest[0] in named[first])): lost.append(text)
    assert not lost

def test_the_map_is_whole():
    "The table in the index lists every notebook except itself and the reference, with the sections and order of the sidebar."
    rows = re.findall(r'^\| (?:\*\*(.*?)\*\*|\[.*?\]\((.*?\.ipynb)\)) \|', prose(cells(ROOT/'nbs/index.ipynb')), re.M)
    home,*sections,reference = yaml.safe_load((ROOT/'nbs/sidebar.yml').read_text(encoding='utf-8'))['website']['sidebar']['contents']
    assert [section or page for section,page in rows] == [name for s in sections for name in (s['section'], *s['contents'])]
    assert sorted([home, reference, *(page for _,page in rows if page)]) == sorted(p.relative_to(ROOT/'nbs').as_posix() for p in NOTEBOOKS)
