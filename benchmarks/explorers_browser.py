"""From a key to new pictures on the screen, in JupyterLab, with ResNet-101

Measured in Chromium: a notebook opens `FeatureMapExplorer` and `GradCamExplorer` over ResNet-101 at 224 px with all 34 blocks; a control is moved by a key (a list: by a choice), and the clock of the page runs from
this event until the last of the pictures that change with it (in brackets) has been loaded, decoded and given to the next frame. So the way to the kernel and back, the kernel's work and the browser's are all in it.
The page, JupyterLab's server and the kernel share the machine's cores. A round is one move of each control: block after block through the network and back, the opacity down to 0 and up again, the next class or method. The aim is 100 ms for the 95th percentile.
"""
import os, sys, tempfile
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parents[1]/'tests'))
from common import parser, report
from explorers import percentiles, plot
from test_explorers import FLAGS, explorer, find_chromium, notebook, run_all, server, watched

CELL = """from torchvision.models.resnet import Bottleneck, ResNet
from resnet_pets.classifier import Classifier
from resnet_pets.core import seeded
from resnet_pets.draw import BREEDS, draw_pet
from resnet_pets.explorers import FeatureMapExplorer, GradCamExplorer
photo = draw_pet(BREEDS[0], 3, (300, 240)).image
with seeded(0, 'network'): model = ResNet(Bottleneck, [3,4,23,3], num_classes=2).eval()
"""
LARGE = "look = Classifier(model, classes=['cat', 'dog'])"
SMALL = "look = Classifier.load('tiny_pets')"

WATCH = """([controls, pictures]) => { const own = controls[0].bench = {};
    const start = () => Object.assign(own, {ms: null, start: performance.now(), left: new Set(pictures)});
    for (const control of controls) control.addEventListener(control.tagName === 'SELECT' ? 'input' : 'keydown', start, true);
    for (const picture of pictures) picture.addEventListener('load', async () => { const {start, left} = own; await picture.decode().catch(() => {});
        requestAnimationFrame(() => { if (left?.delete(picture) && !left.size) own.ms = performance.now()-start; }); }); }"""

def move(page, controls, turn, span)->float: # seconds
    "A step of a walk of `span` moves forth and as many back, by two buttons or the arrow keys of a number; in a list the next choice."
    control,back = controls[0], turn//span%2
    if len(controls) == 2: controls[back].press('Enter')
    elif control.get_attribute('type') == 'number': control.press(('ArrowDown', 'ArrowUp')[back])
    else: control.select_option(index=control.evaluate('e => (e.selectedIndex+1)%e.length'))
    return page.wait_for_function('control => control.bench.ms', arg=control).json_value()/1000

def main():
    args = parser(__doc__).parse_args()
    choice,rounds = (SMALL, 2) if args.quick else (LARGE, max(args.rounds, 60))
    from playwright.sync_api import sync_playwright
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as p:
        folder = Path(folder)
        path,reason = find_chromium(p)
        if path is None: raise SystemExit(f'there is no Chromium, and it could not be installed ({reason})')
        (folder/'bench.ipynb').write_text(notebook(CELL+choice, 'FeatureMapExplorer(look, photo)', 'GradCamExplorer(look, photo)'))
        browser = p.chromium.launch(executable_path=path, args=FLAGS)
        with server(folder, 'jupyterlab', '--allow-root', '--IdentityProvider.token=', f'--ServerApp.root_dir={folder}') as address, watched(browser, viewport=dict(width=1300, height=2600)) as page:
            page.goto(f'{address}/lab/tree/bench.ipynb')
            page.locator('.jp-NotebookPanel .jp-CodeCell').first.wait_for()
            run_all(page)
            maps,(channel,) = explorer(page, 'The strongest channels', '.jp-Cell-outputArea')
            heat,(a,b) = explorer(page, 'as depth grows', '.jp-Cell-outputArea')
            tiles,strip = (w.get_by_title(title) for w,title in ((maps, 'The strongest channels'), (heat, ' blocks')))
            def steps(output, letter=''): return [output.get_by_role('button', name=f'{word} block{letter}') for word in ('earlier', 'later')]
            parts = {'block (channel, tiles)': (steps(maps)[::-1], [channel, tiles]), 'opacity (channel)': ([maps.get_by_label('opacity')], [channel]), 'block A (map A)': (steps(heat, ' A'), [a]), 'block B (map B)': (steps(heat, ' B'), [b]),
                'class A (map A, strip)': ([heat.get_by_label('class A')], [a, strip]), 'method (map B, strip)': ([heat.get_by_label('method')], [b, strip]), 'opacity of the heat (both maps, strip)': ([heat.get_by_label('opacity')], [a, b, strip])}
            parts = {name: [[part.element_handle() for part in side] for side in sides] for name,sides in parts.items()}
            for sides in parts.values(): page.evaluate(WATCH, sides)
            seconds = {name: [] for name in parts}
            for turn in range(2+rounds):    # two to warm up
                for name,(controls,_) in parts.items(): seconds[name].append(move(page, controls, turn, 4 if args.quick else 14 if 'opacity' in name else 30))
        version = browser.version
        browser.close()
    seconds = {name: values[2:] for name,values in seconds.items()}
    table = [percentiles(name, values) for name,values in seconds.items()] + [percentiles('all controls', [s for v in seconds.values() for s in v])]
    report(args, __doc__, [], figure=plot(table), key_to_pictures=table, browser=[dict(what='Chromium', value=version)])

if __name__ == '__main__': main()
