"The explorers in a real browser: the chapter in JupyterLab, one explorer in Voilà, and the exported page without any network."
import importlib.util, json, os, re, shutil, socket, subprocess, sys, time, urllib.request
from contextlib import contextmanager
from pathlib import Path
import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
FLAGS = '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'.split()
WAIT = 300_000   # ms, for a slow machine; whatever is waited for usually comes at once

def find_chromium(playwright): # its path, or the reason why there is none
    own = Path(playwright.chromium.executable_path)
    for path in filter(None, (own, *map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome')))):
        if Path(path).exists(): return Path(path), ''
    try: done = subprocess.run([sys.executable, '-m', 'playwright', 'install', 'chromium'], capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired: return None, 'its download took more than 5 minutes'
    return (own, '') if own.exists() else (None, (done.stderr or done.stdout).strip().split('\n')[-1])

@pytest.fixture(scope='module')
def browser():
    playwright = pytest.importorskip('playwright.sync_api', reason='not tested in a browser: playwright is not installed')
    with playwright.sync_playwright() as p:
        path,reason = find_chromium(p)
        if path is None: pytest.skip(f'not tested in a browser: there is no Chromium and it could not be installed ({reason})')
        running = p.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()

@contextmanager
def watched(browser, **how):
    "A page; afterwards, that nothing went wrong in its console."
    context = browser.new_context(**how)
    context.route(re.compile(r'^https?://(?!127\.0\.0\.1)'), lambda route: route.fulfill(body=''))   # Voilà asks for MathJax, and there may be no network
    page,errors = context.new_page(), []
    page.set_default_timeout(WAIT)
    page.on('console', lambda m: errors.append(m.text) if m.type == 'error' and 'debugger state' not in m.text else None)   # JupyterLab's own, when a kernel restarts
    page.on('pageerror', lambda e: errors.append(str(e)))
    yield page
    context.close()
    assert errors == []

PIXELS = """async element => { const c = document.createElement('canvas');
    for (let i = 0; i < 100; i++) try {   // a picture that is replaced while it is decoded is decoded again
        if (element.decode) await element.decode();
        [c.width, c.height] = [element.naturalWidth || element.width, element.naturalHeight || element.height];
        c.getContext('2d').drawImage(element, 0, 0); return c.toDataURL();
    } catch { await new Promise(done => setTimeout(done, 20)); }
    throw new Error('the picture cannot be decoded'); }"""

def pixels(picture): return picture.evaluate(PIXELS)

PLACE = """element => { const r = element.getBoundingClientRect(), o = (element.closest('.jp-OutputArea') || document.documentElement).getBoundingClientRect();
    return [r.x-o.x, r.y-o.y, r.width, r.height].map(Math.round); }"""   # whatever is scrolled

@contextmanager
def changes(*pictures):
    "That what the block does makes each of these pictures another one, in the same place."
    before,places = [pixels(p) for p in pictures],[p.evaluate(PLACE) for p in pictures]
    yield
    end = time.time()+WAIT/1000
    while any(pixels(p) == b for p,b in zip(pictures, before)):
        assert time.time() < end, 'the picture has stayed the same'
        time.sleep(.05)
    assert [p.evaluate(PLACE) for p in pictures] == places, 'the layout jumps'

# ---- the exported page

@pytest.fixture(scope='module')
def tiny(): # a trained network and two photos
    from resnet_pets.classifier import Classifier
    from resnet_pets.draw import BREEDS, draw_pet
    photos = {b.name: draw_pet(b, 5, (150, 120)).image for b in (BREEDS[0], BREEDS[-1])}
    return Classifier.load('tiny_pets'), photos

@pytest.fixture(scope='module')
def exported(tiny, tmp_path_factory):
    from resnet_pets.explorers import export_explorer
    return export_explorer(*tiny, tmp_path_factory.mktemp('page')/'explorer.html')

@contextmanager
def opened(browser, path, **how):
    with watched(browser, **how) as page:
        asked = []
        page.on('request', lambda r: asked.append(r.url) if not r.url.startswith(('file:', 'data:')) else None)
        page.goto(path.as_uri())
        page.wait_for_selector('#strip button')
        yield page
        assert asked == []

def test_page_answers_to_keyboard_and_mouse(browser, exported):
    with opened(browser, exported, viewport=dict(width=1200, height=2400)) as page:
        channel,a,b,strip = (page.locator(s) for s in ('#channel-picture', '#map-A', '#map-B', '#strip button:nth-child(6) canvas'))
        with changes(channel, page.locator('#tiles button:nth-child(1) canvas')): page.locator('#block').press('ArrowRight')
        with changes(channel): page.locator('#tiles button:nth-child(3)').press('Enter')
        assert page.locator('#tiles button:nth-child(3)').get_attribute('aria-pressed') == 'true'
        with changes(channel): page.locator('#channel-opacity').press('ArrowLeft')
        with changes(b): page.locator('#block-B').press('ArrowLeft')
        with changes(a, b, strip): page.locator('#method').select_option('layercam')
        with changes(a, strip): page.locator('#class-A').select_option('1')
        with changes(a): page.locator('#strip button:nth-child(4)').click()
        with changes(a, b, strip): page.locator('#heat-opacity').press('ArrowLeft')
        with changes(a, b, channel, strip): page.locator('#photos button:nth-child(2)').press('Enter')
        assert page.locator('#class-A').input_value() == '1' and page.locator('#tiles [aria-pressed=true]').count() == 1

def test_page_paints_like_the_widgets(browser, tiny, exported):
    import io, numpy as np
    from base64 import b64decode
    from PIL import Image
    from resnet_pets.explorers import Session
    from resnet_pets.pictures import channel_picture, heat_picture
    session = Session(*tiny)
    analysis = session.analysis(next(iter(session.photos)), 'model')
    def off(picture, theirs): # share of the pixels that plainly have another colour
        ours = np.asarray(Image.open(io.BytesIO(b64decode(pixels(picture).split(',')[1]))).convert('RGB'), int)
        return (abs(ours-np.asarray(theirs, int)).max(2) > 30).mean()
    with opened(browser, exported, viewport=dict(width=1200, height=2400)) as page:
        name = analysis.classes[int(page.locator('#class-A').input_value())]
        for i,block in enumerate(analysis.blocks):
            for slider in ('#block', '#block-A'): page.locator(slider).fill(str(i))
            assert off(page.locator('#map-A'), heat_picture(analysis, block, name)) < .01, block
            assert off(page.locator('#channel-picture'), channel_picture(analysis, block, int(analysis.maps[block].order[0]), .8)) < .01, block

@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [360, 1200])
def test_page_suits_everyone(browser, exported, scheme, width):
    axe = pytest.importorskip('axe_playwright_python.sync_playwright', reason='not tested with axe: axe-playwright-python is not installed')
    with opened(browser, exported, viewport=dict(width=width, height=800), color_scheme=scheme) as page:
        found = axe.Axe().run(page).response
        assert found['passes'] and [(v['id'], v['impact'], [n['html'][:100] for n in v['nodes']]) for v in found['violations']] == []
        assert page.evaluate('document.documentElement.scrollWidth') <= width

# ---- JupyterLab and Voilà

def notebook(*sources)->str:
    cells = [dict(cell_type='code', id=f'c{i}', metadata={}, source=s, execution_count=None, outputs=[]) for i,s in enumerate(sources)]
    return json.dumps(dict(cells=cells, metadata=dict(kernelspec=dict(display_name='python3', language='python', name='python3')), nbformat=4, nbformat_minor=5))

@contextmanager
def server(folder, *command):
    "A Jupyter application with settings of its own; its address."
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
    settings = {'notebook-extension/tracker': dict(windowingMode='none'), 'apputils-extension/notification': dict(fetchNews='false', checkForUpdates=False)}
    for name,value in settings.items():
        file = folder/f'settings/@jupyterlab/{name}.jupyterlab-settings'
        file.parent.mkdir(parents=True); file.write_text(json.dumps(value))
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT), **{f'JUPYTER{k}': str(folder/v) for k,v in dict(_CONFIG_DIR='config', _DATA_DIR='data', _RUNTIME_DIR='runtime', LAB_SETTINGS_DIR='settings', LAB_WORKSPACES_DIR='workspaces').items()})
    log = folder/'server.log'
    with open(log, 'w') as out: process = subprocess.Popen([sys.executable, '-m', *command, f'--port={port}', '--no-browser'], cwd=folder, env=env, stdout=out, stderr=out)
    try:
        for _ in range(240):
            assert process.poll() is None, log.read_text()
            try: urllib.request.urlopen(f'http://127.0.0.1:{port}/', timeout=60); break
            except (OSError, urllib.error.URLError): time.sleep(.5)
        yield f'http://127.0.0.1:{port}'
    finally:
        process.terminate()
        process.wait(60)

def explorer(page, text, pane): # the output that holds this text, and its large pictures
    output = page.locator(pane).filter(has_text=text).first
    output.locator('img.widget-image').first.wait_for()
    return output, [picture for picture in output.locator('img.widget-image').all() if picture.bounding_box() and picture.bounding_box()['width'] == 320]

FOCUSABLE = """output => [...output.querySelectorAll('button, select, input, [tabindex], [contenteditable]')].filter(e => e.tabIndex >= 0 && !e.disabled && e.checkVisibility({visibilityProperty: true}))"""

def check_keyboard(page, output): # Tab goes from each control to the next, and each has a name
    axe = pytest.importorskip('axe_playwright_python.sync_playwright', reason='not tested with axe: axe-playwright-python is not installed')
    controls = output.evaluate_handle(FOCUSABLE)
    n = controls.evaluate('all => all[0].focus() ?? all.length')
    for i in range(n):
        assert controls.evaluate('(all, i) => all[i] === document.activeElement', i), (i, page.evaluate('document.activeElement.outerHTML')[:200])
        page.keyboard.press('Tab')
    output.evaluate('output => output.setAttribute("data-checked", "")')
    found = axe.Axe().run(page, context='[data-checked]', options=dict(runOnly=['aria-input-field-name', 'aria-toggle-field-name', 'button-name', 'image-alt', 'label', 'link-name', 'role-img-alt', 'select-name'])).response
    output.evaluate('output => output.removeAttribute("data-checked")')
    assert found['passes'] and [(v['id'], [m['html'][:100] for m in v['nodes']]) for v in found['violations']] == []
    return n

def check_feature_maps(page, pane):
    output,(large,) = explorer(page, 'The strongest channels', pane)
    tiles,opacity,block = output.get_by_title('The strongest channels'),output.get_by_label('opacity'),output.get_by_label('block')
    outputs = page.locator('.jp-OutputArea-output').count()
    with changes(large, tiles): output.get_by_role('button', name='later block').press('Enter')
    with changes(large): opacity.press('ArrowDown')
    with changes(large): output.get_by_role('button', name='layer3').press('Enter')
    with changes(large, tiles):
        for key in 'Space', 'ArrowDown', 'Enter': block.press(key)
    with changes(large): output.get_by_label('channel').press('ArrowUp')
    with changes(large): output.locator('.jupyter-button:visible').filter(has_text='layer1').click()
    with changes(large): output.get_by_title('channel').filter(has_text=re.compile('.')).nth(2).press('Space')
    assert large.get_attribute('title').startswith('channel') and page.locator('.jp-OutputArea-output').count() == outputs
    assert check_keyboard(page, output) > 20

def run_all(page):
    "Once there is a kernel: before that JupyterLab takes the click and runs nothing."
    page.get_by_text('| Idle').wait_for()
    page.get_by_role('menuitem', name='Run', exact=True).click()
    page.get_by_role('menuitem', name='Run All Cells', exact=True).click()

def test_chapter_in_jupyterlab(browser, tmp_path):
    pytest.importorskip('jupyterlab', reason='not tested in JupyterLab: it is not installed')
    chapter = shutil.copy(ROOT/'nbs/15_explorers.ipynb', tmp_path/'chapter.ipynb')
    cells = sum(c['cell_type'] == 'code' for c in json.loads(chapter.read_text(encoding='utf-8'))['cells'])
    with server(tmp_path, 'jupyterlab', '--allow-root', '--IdentityProvider.token=', f'--ServerApp.root_dir={tmp_path}') as address, watched(browser, viewport=dict(width=1300, height=1400)) as page:
        page.goto(f'{address}/lab/tree/chapter.ipynb')
        page.locator('.jp-NotebookPanel .jp-CodeCell').first.wait_for()
        run_all(page)
        faults = page.locator('[data-mime-type="application/vnd.jupyter.error"]')
        page.locator('.jp-CodeCell .jp-InputPrompt').filter(has_text=f'[{cells}]:').or_(faults).first.wait_for()
        assert faults.all_inner_texts() == []
        check_feature_maps(page, '.jp-Cell-outputArea')
        looks,(a,b) = explorer(page, 'as depth grows', '.jp-Cell-outputArea')
        with changes(a): looks.get_by_label('class A').select_option('dog')
        with changes(b): looks.get_by_role('button', name='earlier block B').press('Enter')
        with changes(a, b, looks.get_by_title(' blocks')): looks.get_by_label('opacity').press('ArrowDown')
        with changes(a): looks.get_by_role('button', name='layer3.1').click()
        check_keyboard(page, looks)
        mistakes,_ = explorer(page, 'look at', '.jp-Cell-outputArea')
        mistakes.get_by_role('button', name='Grad-CAM').click()
        mistakes.get_by_text('as depth grows').wait_for()
        check_keyboard(page, mistakes)
        page.frame_locator('iframe[title^="Explorer"]').locator('#strip button').last.wait_for()

def test_voila(browser, tmp_path):
    if not importlib.util.find_spec('voila'): pytest.skip('not tested in Voilà: it is not installed')
    (tmp_path/'one.ipynb').write_text(notebook("""from resnet_pets.classifier import Classifier
from resnet_pets.draw import BREEDS, draw_pet
from resnet_pets.explorers import FeatureMapExplorer
FeatureMapExplorer(Classifier.load('tiny_pets'), draw_pet(BREEDS[0], 3, (150, 120)).image)"""))
    with server(tmp_path, 'voila', 'one.ipynb') as address, watched(browser, viewport=dict(width=1300, height=1400)) as page:
        page.goto(address)
        check_feature_maps(page, 'body')
