"The project as a whole: what is generated is current, modules import on their own and only upwards, notebooks are fit for the docs."
import ast, configparser, importlib, inspect, json, re, subprocess, sys
from functools import lru_cache
from pathlib import Path
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if not any(part[0] in '._' for part in p.relative_to(ROOT).parts))
MODULES = sorted(p.stem for p in (ROOT/'resnet_pets').glob('*.py') if p.stem[0] != '_')
SETTINGS = configparser.ConfigParser(delimiters=['='])
SETTINGS.read(ROOT/'settings.ini', encoding='utf-8')

def code(path:Path)->list[str]: # the source of each code cell
    return [''.join(c['source']) for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'code']

def chapter_module(path:Path): # the module that a notebook exports, or None
    return next((m[1] for source in code(path) if (m := re.search(r'^#\|\s*default_exp\s+(\S+)', source, re.M))), None)

CHAPTERS = {m: path for path in NOTEBOOKS if (m := chapter_module(path))}    # in the order of the book

def imports(source:str)->set[str]: # dotted names; those of our own package always start with resnet_pets
    names = set()
    for node in ast.walk(ast.parse(re.sub(r'^\s*[%!].*$', '', source, flags=re.M))):
        if isinstance(node, ast.Import): names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join(filter(None, ['resnet_pets' if node.level else '', node.module]))
            names |= {f'{base}.{a.name}' if a.name in MODULES else base for a in node.names} if base == 'resnet_pets' else {base}
    return names

def run(*command, cwd)->str:
    done = subprocess.run([sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout+done.stderr
    return done.stdout

def changes(folder:Path)->str: # since the copy was made; undone afterwards
    def git(*args): return subprocess.check_output(['git', *args], cwd=folder, text=True)
    git('add', '-A')
    found = git('diff', '--cached', '--unified=0')
    git('reset', '-q', '--hard')
    return found

@pytest.mark.parametrize('step', [
    'from nbdev.doclinks import nbdev_export; nbdev_export()',
    'from nbdev.clean import nbdev_clean; nbdev_clean()',
    'from nbdev.quarto import refresh_quarto_yml; refresh_quarto_yml()',
    "import runpy; runpy.run_path('scripts/readme.py', run_name='__main__')"], ids=['export', 'clean', 'docs settings', 'readme'])
def test_generated_files_are_current(copy, step):
    run('-c', step, cwd=copy)
    changed = changes(copy)
    assert not changed, f'`make notebooks` makes it current:\n{changed[:5000]}'

def test_every_module_has_its_chapter(): assert MODULES == sorted(CHAPTERS)

@pytest.mark.parametrize('module', CHAPTERS)
def test_imports_point_upwards(module):
    order = list(CHAPTERS)
    earlier = {'resnet_pets', *(f'resnet_pets.{m}' for m in order[:order.index(module)+1])}
    ours = {name for source in code(CHAPTERS[module]) if not source.startswith('%%') for name in imports(source) if name.split('.')[0] == 'resnet_pets'}
    assert ours <= earlier

def test_what_is_imported_is_required():
    "A library that happens to be installed here must not be missed in an empty environment; that the extra's are not imported at once is tested below."
    named = SETTINGS['DEFAULT']['requirements']+' '+SETTINGS['DEFAULT']['onnx_requirements']
    required = {re.split(r'[<>=!]', r)[0].lower() for r in named.split()}
    used = {name.split('.')[0] for m in MODULES for name in imports((ROOT/f'resnet_pets/{m}.py').read_text(encoding='utf-8'))}
    used -= {'resnet_pets', *sys.stdlib_module_names}
    called = dict(sklearn='scikit-learn', PIL='pillow', yaml='pyyaml')    # where library and import differ in name
    assert {called.get(name, name) for name in used} <= required

@lru_cache(None)
def loaded_by(module:str)->set[str]: # names in `sys.modules` after importing it in a fresh interpreter
    return set(run('-c', f'import resnet_pets.{module}, sys; print(*sys.modules)', cwd=ROOT).split())

@pytest.mark.parametrize('module', MODULES)
def test_imports_alone_and_lightly(module):
    assert not loaded_by(module) & {'sklearn', 'ipywidgets', 'IPython', 'matplotlib.pyplot', 'nbdev', 'onnx', 'onnxruntime', 'onnxscript'}

@pytest.mark.parametrize('module', [m for m in ('blocks', 'resnet', 'features', 'gradcam', 'pictures', 'explorers') if m in MODULES])
def test_network_knows_nothing_of_data_or_training(module):
    ours = {name.split('.')[1] for name in loaded_by(module) if name.startswith('resnet_pets.')}
    assert not ours & {'draw', 'data', 'stats', 'batches', 'evaluation', 'checkpoints', 'training', 'runs', 'cli'}

@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_every_figure_can_be_read_aloud(path):
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    def shows(cell): return any('image/png' in o.get('data', {}) for o in cell.get('outputs', []))
    silent = [''.join(c['source']) for c in cells if c['cell_type'] == 'code' and shows(c) and not re.search(r'^#\| fig-alt: *\S', ''.join(c['source']), re.M)]
    silent += re.findall(r'!\[\s*\]\(.*?\)', '\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown'))
    assert silent == []

def test_version_is_the_same_everywhere():
    version = SETTINGS['DEFAULT']['version']
    assert f'\nversion: {version}\n' in (ROOT/'CITATION.cff').read_text(encoding='utf-8')
    assert f'\n## {version}' in (ROOT/'CHANGELOG.md').read_text(encoding='utf-8')

def signatures(module:str): # of its public functions, and of the methods that are written by hand, constructors included
    loaded = importlib.import_module(f'resnet_pets.{module}')
    for name in loaded.__all__:
        thing = getattr(loaded, name)
        if inspect.isfunction(thing): yield name, thing
        for n,f in (vars(thing) if inspect.isclass(thing) else {}).items():
            f = getattr(f, '__func__', f)
            if inspect.isfunction(f) and f.__module__.startswith('resnet_pets') and f.__code__.co_filename.endswith('.py') and (n[0] != '_' or n == '__init__'): yield f'{name}.{n}', f

@pytest.mark.parametrize('module', MODULES)
def test_public_signatures_have_types(module):
    for name,f in signatures(module):
        s = inspect.signature(f)
        untyped = [p.name for p in s.parameters.values() if p.annotation is p.empty and p.name not in ('self', 'cls') and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        assert not untyped, f'{name}: {untyped}'
        assert s.return_annotation is not s.empty or name.endswith('__init__'), f'{name} does not say what it returns'

@pytest.mark.parametrize('module', MODULES)
def test_public_names_say_what_they_are(module):
    "By docstrings of their own: of an inherited one, such as that of torch's `forward`, `name?` shows nothing of ours."
    loaded = importlib.import_module(f'resnet_pets.{module}')
    classes = [(name, thing) for name in loaded.__all__ if inspect.isclass(thing := getattr(loaded, name))]
    assert not [name for name,thing in [*signatures(module), *classes] if not thing.__doc__ and not name.endswith('__init__')]
