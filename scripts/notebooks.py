"""Run notebooks as a reader would and store their outputs: `python scripts/notebooks.py [NOTEBOOK …]`, by default all of them.

The same engine as `nbdev_test`, each notebook in a process of its own; cells marked `#| eval: false` keep the outputs they have.
"""
import base64, io, os, subprocess, sys, time
from pathlib import Path
from execnb.nbio import read_nb, write_nb
from execnb.shell import CaptureShell
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.frontmatter import FrontmatterProc
from nbdev.process import NBProcessor, extract_directives
from PIL import Image

def kept(cell)->bool:
    "Is this a cell that is not run?"
    return cell.cell_type != 'code' or extract_directives(cell, remove=False).get('eval:') == ['false']

def slim(png:str, over:int=30_000)->str:
    "A large picture with 256 colours, which take a third of the bytes."
    data,out = base64.b64decode(png), io.BytesIO()
    if len(data) <= over: return png
    Image.open(io.BytesIO(data)).convert('RGB').quantize(256, Image.Quantize.FASTOCTREE).save(out, 'PNG', optimize=True)
    return base64.b64encode(out.getvalue()).decode()

def run(path:Path)->None:
    "Run one notebook in its own folder and write it back."
    front = getattr(NBProcessor(path, FrontmatterProc, process=True).nb, 'frontmatter_', {})
    if str(front.get('skip_exec', False)).lower() == 'true': return
    os.chdir(path.parent)
    sys.path.insert(0, str(get_config().config_path))
    nb,shell = read_nb(path),CaptureShell(path, mpl_format='png')    # a quarter of the bytes of 'retina'
    try: shell.run_all(nb, exc_stop=True, preproc=kept)
    except Exception: sys.exit(shell.prettytb(fname=path))
    for c in nb.cells:    # warnings and progress bars tell of this machine, not of the book
        if 'outputs' in c: c['outputs'] = [o for o in c['outputs'] if o.get('name') != 'stderr']
    pictures = [o['data'] for c in nb.cells for o in c.get('outputs', []) if 'image/png' in o.get('data', {})]
    for data in pictures: data['image/png'] = slim(data['image/png'])
    write_nb(nb, path)

if __name__ == '__main__':
    os.environ['TQDM_DISABLE'] = '1'    # a progress bar is no output worth storing
    if len(sys.argv) == 2: run(Path(sys.argv[1]).resolve())
    else:
        for path in sys.argv[1:] or sorted(nbglob()):
            start = time.time()
            if subprocess.run([sys.executable, __file__, str(path)]).returncode: sys.exit(f'{path} failed; it is left as it was')
            print(f'{path}: {time.time()-start:.0f} s', flush=True)
