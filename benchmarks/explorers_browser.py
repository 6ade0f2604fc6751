"""From a key to a new picture on the screen, in JupyterLab, with ResNet-101

Measured in Chromium: a notebook opens `FeatureMapExplorer` and `GradCamExplorer` over ResNet-101 at 224 px with all 34 blocks; an arrow key is pressed on a slider, and the clock of the page runs from
the key's event until the large picture that belongs to it has been loaded, decoded and given to the next frame. So the way to the kernel and back, the kernel's work and the browser's are all in it.
The page, JupyterLab's server and the kernel share the machine's cores. A round is one key on each slider, right and left in turn. The aim is 100 ms for the 95th percentile.
"""
import os, sys, tempfile
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parents[1]/'tests'))
from common import parser, report
from explorers import percentiles, plot
from test_explorers import FLAGS, explorer, find_chromium, notebook, server, watched

CELL = """from importlib.resources import files
from torchvision.models.resnet import Bottleneck, ResNet
from resnet_pets.checkpoints import load_model
from resnet_pets.core import seeded
from resnet_pets.draw import BREEDS, draw_pet
from resnet_pets.explorers import FeatureMapExplorer, GradCamExplorer
from resnet_pets.pictures import Subject
photo = draw_pet(BREEDS[0], 3, (300, 240)).image
with seeded(0, 'network'): model = ResNet(Bottleneck, [3,4,23,3], num_classes=2).eval()
"""
LARGE,SMALL = "look = Subject(model, 224, classes=['cat', 'dog'])", "look = load_model(files('resnet_pets')/'assets/tiny_pets.safetensors')"

WATCH = """([slider, picture]) => { const own = {}; slider.bench = own;
    slider.addEventListener('keydown', () => { own.ms = null; own.start = performance.now(); }, true);
    picture.addEventListener('load', async () => { const start = own.start; await picture.decode().catch(() => {}); requestAnimationFrame(() => { if (start === own.start && own.ms === null) own.ms = performance.now()-start; }); }); }"""

def press(page, slider, key)->float: # seconds
    slider.press(key)
    return page.wait_for_function('slider => slider.bench.ms', arg=slider).json_value()/1000

def main():
    args = parser(__doc__).parse_args()
    subject,rounds = (SMALL, 2) if args.quick else (LARGE, max(args.rounds, 60))
    from playwright.sync_api import sync_playwright
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as p:
        folder = Path(folder)
        path,reason = find_chromium(p)
        if path is None: raise SystemExit(f'there is no Chromium, and it could not be installed ({reason})')
        (folder/'bench.ipynb').write_text(notebook(CELL+subject, 'FeatureMapExplorer(look, photo)', 'GradCamExplorer(look, photo)'))
        browser = p.chromium.launch(executable_path=path, args=FLAGS)
        with server(folder, 'jupyterlab', '--allow-root', '--IdentityProvider.token=', f'--ServerApp.root_dir={folder}') as address, watched(browser, viewport=dict(width=1300, height=2600)) as page:
            page.goto(f'{address}/lab/tree/bench.ipynb')
            page.locator('.jp-NotebookPanel .jp-CodeCell').first.wait_for()
            page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(state='attached')
            page.get_by_role('menuitem', name='Run', exact=True).click()
            page.get_by_role('menuitem', name='Restart Kernel and Run All Cells').click()
            page.get_by_role('button', name='Confirm Kernel Restart').click()
            maps,(channel,) = explorer(page, 'The strongest channels', '.jp-Cell-outputArea')
            heat,(a,b) = explorer(page, 'as depth grows', '.jp-Cell-outputArea')
            sliders = [s.element_handle() for w in (maps, heat) for s in w.locator('[role=slider]').all()]
            names = ['block', 'opacity', 'opacity of the heat', 'block A', 'block B']
            pictures = [channel, channel, a, a, b]
            if len(sliders) != len(names): raise SystemExit(f'{len(sliders)} sliders where {len(names)} are expected')
            for s,picture in zip(sliders, pictures): page.evaluate(WATCH, [s, picture.element_handle()])
            keys = [('ArrowLeft', 'ArrowRight')[::1 if s.get_attribute('aria-valuenow') == s.get_attribute('aria-valuemax') else -1] for s in sliders]    # at its end it can go one way only
            seconds = {name: [] for name in names}
            for i in range(2+rounds):    # two to warm up
                for name,s,pair in zip(names, sliders, keys): seconds[name].append(press(page, s, pair[i%2]))
        version = browser.version
        browser.close()
    seconds = {name: values[2:] for name,values in seconds.items()}
    table = [percentiles(name, values) for name,values in seconds.items()] + [percentiles('all sliders', [s for v in seconds.values() for s in v])]
    report(args, __doc__, [], figure=plot(table), key_to_picture=table, browser=[dict(what='Chromium', value=version)])

if __name__ == '__main__': main()
