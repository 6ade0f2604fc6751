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

FLOORS = ('core config blocks processes', 'photos resnet features animals draw checkpoints', 'data gradcam', 'classifier stats batches',
    'evaluation confidence training', 'localization faithfulness pictures datamodule runs', 'explorers reports', 'experiments', 'explain export', 'cli')
FLOOR = {module: i for i,floor in enumerate(FLOORS) for module in floor.split()}

def own_imports(module:str)->set[str]: # modules of ours that it imports, also inside functions
    found = imports((ROOT/f'resnet_pets/{module}.py').read_text(encoding='utf-8'))
    return {name.split('.')[1] for name in found if name.startswith('resnet_pets.')}

def test_every_module_has_its_floor(): assert sorted(FLOOR) == MODULES

@pytest.mark.parametrize('module', MODULES)
def test_imports_point_down(module): assert [m for m in own_imports(module) if FLOOR[m] > FLOOR[module]] == []

def test_imports_make_no_circle():
    left = {m: own_imports(m) for m in MODULES}
    while free := [m for m,needs in left.items() if not needs & left.keys()]:
        for m in free: del left[m]
    assert not left

def test_imports_inside_functions_are_of_other_people():
    "What is ours stands at the head of a module; only heavy libraries of others wait until they are needed."
    for module in MODULES:
        tree = ast.parse((ROOT/f'resnet_pets/{module}.py').read_text(encoding='utf-8'))
        inside = [n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom)) and n not in tree.body]
        assert not [ast.unparse(n) for n in inside if isinstance(n, ast.ImportFrom) and (n.level or (n.module or '').startswith('resnet_pets'))], module

def test_private_names_stay_in_their_module():
    for module in MODULES:
        tree = ast.parse((ROOT/f'resnet_pets/{module}.py').read_text(encoding='utf-8'))
        taken = [a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level for a in n.names]
        assert not [name for name in taken if name[0] == '_' and name != '__version__'], module

def test_lines_fit_the_page():
    "An exported line has at most 100 characters."
    long = [f'{path.name}: {line[:60]}' for path in CHAPTERS.values() for source in code(path) if re.match(r'#\|\s*export', source)
        for line in source.splitlines() if len(line) > 100]
    assert long == []

def test_the_package_offers_its_main_names():
    "They are imported when they are asked for; `import resnet_pets` alone loads nothing heavy."
    import resnet_pets
    assert all(getattr(resnet_pets, name).__name__ == name for name in resnet_pets.__all__)
    assert set(resnet_pets.__all__) <= set(dir(resnet_pets))
    assert 'torch' not in run('-c', 'import resnet_pets, sys; print(*sys.modules)', cwd=ROOT).split()

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

@pytest.mark.parametrize('module', [m for m in ('blocks', 'resnet', 'features', 'gradcam', 'classifier', 'pictures', 'explorers') if m in MODULES])
def test_network_knows_nothing_of_data_or_training(module):
    ours = {name.split('.')[1] for name in loaded_by(module) if name.startswith('resnet_pets.')}
    assert not ours & {'draw', 'data', 'stats', 'batches', 'datamodule', 'checkpoints', 'training', 'runs', 'experiments', 'cli'}

@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_every_figure_can_be_read_aloud(path):
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    def shows(cell): return any('image/png' in o.get('data', {}) for o in cell.get('outputs', []))
    silent = [''.join(c['source']) for c in cells if c['cell_type'] == 'code' and shows(c) and not re.search(r'^#\| fig-alt: *\S', ''.join(c['source']), re.M)]
    silent += re.findall(r'!\[\s*\]\(.*?\)', '\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown'))
    assert silent == []

@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_stored_outputs_hold_no_warnings(path):
    outputs = [o for c in json.loads(path.read_text(encoding='utf-8'))['cells'] for o in c.get('outputs', [])]
    assert [o['text'] for o in outputs if o.get('name') == 'stderr'] == []

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
