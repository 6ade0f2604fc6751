"""What the benchmarks share: sides that take turns, peak memory of a process of its own,
and a table, a figure and all numbers as files."""
import argparse, datetime, json, os, platform, re, resource, shlex, statistics
import subprocess, sys, time
from pathlib import Path
import torch, torchvision
from resnet_pets import __version__
from resnet_pets.core import COLORS, Table, new_figure, pick_device, save_figure, write_text
from resnet_pets.data import read_pets
from resnet_pets.draw import draw_pets

NAME = Path(sys.argv[0]).stem
LOAD = os.getloadavg()[0]   # of the machine, before we add to it

def parser(doc:str)->argparse.ArgumentParser:
    "The options of every benchmark."
    as_it_is = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser(description=doc, formatter_class=as_it_is)
    p.add_argument('--rounds', type=int, default=9,
        help='that are measured, after one to warm up (default 9)')
    p.add_argument('--quick', action='store_true',
        help='a smoke test of seconds; its numbers mean nothing')
    p.add_argument('--device', type=pick_device, default='auto',
        help='cpu, cuda, ... (default: the best there is)')
    p.add_argument('--out', type=Path, default=Path(__file__).parent/'results',
        help='folder of the results')
    p.add_argument('--child', nargs='+', help=argparse.SUPPRESS)   # see `in_child`
    return p

def find_pets(photos, folder, n, size):
    "The photos of a folder in the official layout, or else `n` of `size` px, drawn into `folder`."
    return read_pets(photos or draw_pets(folder/'drawn', n=n, size=size))

def timed(work, device)->tuple: # seconds, and what `work` returned
    "Call `work` and wait until the device has done it."
    wait = torch.cuda.synchronize if device.type == 'cuda' else lambda: None
    wait(); start = time.perf_counter()
    result = work()
    wait(); return time.perf_counter()-start, result

def take_turns(sides:dict, rounds:int)->dict: # side → its result in each round
    "Each round calls each side once, every other round backwards; the first only warms up."
    results = {name: [] for name in sides}
    for r in range(rounds+1):
        for name in list(sides)[::-1 if r%2 else 1]:
            result = sides[name]()
            if r: results[name].append(result)
    return results

def in_child(*what)->dict: # what that process printed last
    "Run this script in a fresh process for one thing."
    command = [sys.executable, *sys.argv, '--child', *map(str, what)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])

def peak_memory(device)->float: # MB
    "The most that this process ever held: resident memory, or on CUDA what tensors took there."
    if device.type == 'cuda': return torch.cuda.max_memory_allocated()/1e6
    status = Path('/proc/self/status')   # ru_maxrss of a child starts from that of its parent
    if status.exists(): return int(re.search(r'VmHWM:\s+(\d+)', status.read_text())[1])*1024/1e6
    unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss*unit/1e6

def spread(values)->dict: # median and quartiles
    q1,median,q3 = statistics.quantiles(values, n=4, method='inclusive')
    return dict(median=median, q1=q1, q3=q3)

def compare(case, ours, theirs, seconds:dict, photos:dict, aim:float=None)->dict: # a row
    "The speed of `ours` divided by the speed of `theirs`, round by round."
    speed = {side: [photos[side]/s for s in seconds[side]] for side in (ours, theirs)}
    ratios = [a/b for a,b in zip(speed[ours], speed[theirs])]
    photos_per_s = {side: spread(v) for side,v in speed.items()}
    return dict(case=case, ours=ours, theirs=theirs, photos_per_s=photos_per_s,
        ratio=spread(ratios), aim=aim, rounds=ratios)

def evidence(device)->dict:
    "What the numbers depend on."
    info = Path('/proc/cpuinfo')
    named = re.search(r'model name\s*:\s*(.*)', info.read_text()) if info.exists() else None
    cpu = named[1] if named else platform.processor()
    about = dict(command=shlex.join(['python', f'benchmarks/{NAME}.py', *sys.argv[1:]]),
        date=datetime.date.today().isoformat(),
        cpu=f'{cpu}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}',
        threads=torch.get_num_threads(), load_before=round(LOAD, 2),
        python=platform.python_version(), torch=torch.__version__,
        torchvision=torchvision.__version__, resnet_pets=__version__)
    return dict(about, gpu=torch.cuda.get_device_name(device)) if device.type == 'cuda' else about

def _range(s, digits)->str:
    median,q1,q3 = (f'{s[k]:.{digits}f}' for k in ('median', 'q1', 'q3'))
    return f'{median} ({q1} to {q3})'

def ratio_table(rows)->Table:
    "Median and quartiles of both speeds and of their ratio."
    def row(r):
        ours,theirs = (_range(r['photos_per_s'][r[side]], 1) for side in ('ours', 'theirs'))
        return {'case': r['case'], 'this': r['ours'], 'photos/s': ours, 'against': r['theirs'],
            'photos/s there': theirs, 'ratio': _range(r['ratio'], 2),
            'aim': f"{r['aim']:g}" if r['aim'] else None}
    return Table([row(r) for r in rows])

def plot_ratios(rows, title):
    "Median ratios with their quartiles; aims as upright strokes."
    fig,axs = new_figure(size=(7.5, 1.1+.4*len(rows)))
    ax = axs[0,0]
    for y,r in enumerate(rows):
        s = r['ratio']
        bar = [[s['median']-s['q1']], [s['q3']-s['median']]]
        ax.errorbar(s['median'], y, xerr=bar, fmt='o', color=COLORS['dog'], capsize=3)
        if r['aim']: ax.plot(r['aim'], y, '|', ms=16, mew=2, color=COLORS['cat'])
    ax.axvline(1, color=COLORS['grey'], lw=1)
    labels = [f"{r['case']}\n{r['ours']} / {r['theirs']}" for r in rows]
    ax.set(yticks=range(len(rows)), yticklabels=labels, title=title, xlim=(0, None))
    ax.set_xlabel('ratio of speeds: right of 1 the first is faster')
    ax.invert_yaxis()
    ax.tick_params(axis='y', labelsize=7)
    return fig

def report(args, doc:str, rows, figure=None, **more)->None:
    "Print the tables; write NAME.md, .json and .png; `more`: further tables, heading → rows."
    title,_,text = doc.partition('\n')
    about = evidence(args.device)
    parts = [f'# {title}', text.strip()]
    if rows: parts.append(ratio_table(rows).markdown())
    for heading,table in more.items():
        parts += [f"## {heading.replace('_', ' ').capitalize()}", Table(table, digits=1).markdown()]
    parts += [f'![{title}]({NAME}.png)', '## Evidence']
    if rows: parts.append(f'{len(rows[0]["rounds"])} rounds; medians, quartiles in brackets.')
    parts.append(Table([dict(what=k, value=str(v)) for k,v in about.items()]).markdown())
    print('\n'+'\n\n'.join(parts))
    write_text(args.out/f'{NAME}.md', '\n\n'.join(parts)+'\n')
    found = dict(evidence=about, rows=rows, **more)
    write_text(args.out/f'{NAME}.json', json.dumps(found, indent=1)+'\n')
    save_figure(figure or plot_ratios(rows, title), args.out/f'{NAME}.png')
