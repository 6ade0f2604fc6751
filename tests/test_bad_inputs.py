"Bad inputs: each is refused in one line that names place and cause, with the documented exit code; nothing is half-written, no input is changed, no foreign code runs."
import io, json, os, pickle, re, shutil, socket, stat, struct, subprocess, sys, threading, warnings, zlib
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
import numpy as np, pytest, torch, yaml
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load, save_file
from resnet_pets import cli
from resnet_pets.batches import photo_cache
from resnet_pets.checkpoints import load_state, save_state
from resnet_pets.classifier import Classifier, _checksum
from resnet_pets.config import Config, load_config
from resnet_pets.core import PetsError, write_text
from resnet_pets.data import read_box, read_pets, read_splits
from resnet_pets.draw import draw_pets
from resnet_pets.photos import CROP_MODES, inspect_photo, open_photo, resize_square

ROOT = Path(__file__).parents[1]
FEW = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=1500)

def call(command, *words)->tuple[int, str, list[str]]: # exit code, stdout, the lines of stderr without progress bars
    out,err = io.StringIO(),io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try: code = command([str(w) for w in words])
        except SystemExit as e: code = e.code
    lines = [l.rsplit('\r', 1)[-1] for l in err.getvalue().split('\n')]
    return code, out.getvalue(), [l for l in lines if l and '%|' not in l]

def contents(folder)->dict: # path → kind and bytes of all below a folder; links are not followed
    def what(p):
        mode = p.lstat().st_mode
        return stat.S_IFMT(mode), os.readlink(p) if stat.S_ISLNK(mode) else p.read_bytes() if stat.S_ISREG(mode) else None
    return {str(p): what(p) for p in sorted(Path(folder).rglob('*'))}

def is_one_line(line:str): assert line and '\n' not in line and 'Traceback' not in line and '--debug' not in line, line

def refused(command, *words, says=(), inputs=(), code=2)->str:
    "Check that the command exits with `code`, prints one line with all of `says` to stderr, and leaves the folders `inputs` unchanged."
    before = [contents(f) for f in inputs]
    got,out,err = call(command, *words)
    assert (got, len(err)) == (code, 1), (got, err, out[-500:])
    is_one_line(err[0])
    for s in [says] if isinstance(says, str) else says: assert s in err[0]
    assert [contents(f) for f in inputs] == before
    return err[0]

def complaint(f, *args, **kwargs): # the line of the `PetsError` that `f` raises, or None; any other exception fails the test
    try: f(*args, **kwargs)
    except PetsError as e:
        is_one_line(str(e))
        return str(e)

TINY = """model: {{block: basic, layers: [1, 1, 1, 1], width: 8}}
training: {{epochs: 1, batch_size: 8, precision: fp32, device: cpu}}
data: {{image_size: 32, folder: "{folder}"}}
results: {{folder: "{runs}"}}
"""

@pytest.fixture(scope='session')
def home(tmp_path_factory):
    "A folder with photos in `pets`, a recipe `tiny.yaml`, and two runs in `runs`: `whole` is finished, `broken` stopped before its report."
    home = tmp_path_factory.mktemp('home')
    os.environ['RESNET_PETS_CACHE'] = str(home/'cache')
    torch.set_num_threads(1)
    draw_pets(home/'pets', n=40, seed=3, size=48)
    write_text(home/'tiny.yaml', TINY.format(folder=home/'pets', runs=home/'runs'))
    assert call(cli.pets_train, home/'tiny.yaml', '--run', 'whole')[0] == 0
    shutil.copytree(home/'runs/whole', home/'runs/broken')
    for name in ('report.json', 'report.md', 'predictions.csv'): (home/'runs/broken'/name).unlink()
    return home

@pytest.fixture
def spare(home, tmp_path): # a function that copies one of the two runs, so that a test may damage it
    def copy(name='whole'):
        run = Path(shutil.copytree(home/f'runs/{name}', tmp_path/f'runs/{name}'))
        write_text(run/'config.yaml', (run/'config.yaml').read_text().replace(f'{home}/runs', str(run.parent)))
        return run
    return copy

def resume(home, run): return (home/'tiny.yaml', f'results.folder={run.parent}', '--run', run.name, '--resume')

@pytest.fixture
def pets(home, tmp_path): return Path(shutil.copytree(home/'pets', tmp_path/'pets'))

@pytest.fixture
def fifo(tmp_path): # a function that makes a FIFO; a reader that blocks on it is released after 20 seconds, and the test fails
    waited,timers = [],[]
    def let_go(path):
        try: os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK)); waited.append(path)
        except OSError: pass   # no reader
    def make(path):
        os.mkfifo(path)
        timers.append(threading.Timer(20, let_go, [path])); timers[-1].start()
        return path
    yield make
    for t in timers: t.cancel()
    assert not waited

# Photos

def as_bytes(photo, format, **kw):
    out = io.BytesIO(); photo.save(out, format, **kw)
    return out.getvalue()

def picture(mode='RGB', size=(60, 40)):
    x = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(x).convert(mode)

def rotated(turn):
    exif = Image.Exif(); exif[0x112] = turn
    return as_bytes(picture(), 'JPEG', exif=exif)

def bomb(side): # a white PNG with one bit per pixel: few bytes, many pixels
    def chunk(kind, data): return struct.pack('>I', len(data))+kind+data+struct.pack('>I', zlib.crc32(kind+data))
    pack,row = zlib.compressobj(9),b'\0'+b'\xff'*(-(-side//8))
    data = b''.join(pack.compress(row*100) for _ in range(side//100))+pack.flush()
    return b'\x89PNG\r\n\x1a\n'+chunk(b'IHDR', struct.pack('>IIBBBBB', side, side, 1, 0, 0, 0, 0))+chunk(b'IDAT', data)+chunk(b'IEND', b'')

JPEG,PNG = as_bytes(picture(), 'JPEG'),as_bytes(picture(), 'PNG')
FRAMES = dict(save_all=True, append_images=[picture('L').convert('RGB')]*3, duration=50)
BROKEN_EXIF = JPEG[:2]+b'\xff\xe1\0\x20Exif\0\0II*\0\x08\0\0\0\xff\xff'+b'\xff'*14+JPEG[2:]
GOOD = dict(plain=JPEG, grey=as_bytes(picture('L'), 'JPEG'), cmyk=as_bytes(picture('CMYK'), 'JPEG'), progressive=as_bytes(picture(), 'JPEG', progressive=True),
    sixteen=as_bytes(Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60)*27), 'PNG'), palette=as_bytes(picture('P'), 'PNG'), alpha=as_bytes(picture('RGBA'), 'PNG'),
    palette_alpha=as_bytes(picture('P'), 'PNG', transparency=bytes(range(200))), grey_alpha=as_bytes(picture('LA'), 'PNG'), one_bit=as_bytes(picture('1'), 'PNG'),
    png=PNG, gif=as_bytes(picture(), 'GIF'), webp=as_bytes(picture(), 'WEBP'), bmp=as_bytes(picture(), 'BMP'), dot=as_bytes(picture(size=(1, 1)), 'JPEG'),
    tall=as_bytes(picture(size=(1, 5000)), 'JPEG'), wide=as_bytes(picture(size=(5000, 1)), 'PNG'), gifs=as_bytes(picture(), 'GIF', **FRAMES), webps=as_bytes(picture(), 'WEBP', **FRAMES),
    pngs=as_bytes(picture(), 'PNG', **FRAMES), tail=JPEG+b'and more', broken_exif=BROKEN_EXIF, **{f'turned{t}': rotated(t) for t in (0, 2, 3, 6, 8, 9)})
BAD = dict(empty=b'', text=b'Dear cat,\n', html=b'<!doctype html><title>404</title>', zeros=bytes(5000), start=b'\xff\xd8', svg=b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    bomb=bomb(30_000), small_bomb=bomb(11_000), png_head=PNG[:60], no_pixels=PNG[:33], gif_head=GOOD['gif'][:20], pdf=b'%PDF-1.7\n', zip=b'PK\3\4'+bytes(100),
    **{f'cut{i}': JPEG[:len(JPEG)*i//20] for i in range(1, 20)}, **{f'png_cut{i}': PNG[:len(PNG)*i//10] for i in range(1, 10)})

def special(folder, fifo): # paths that look like photos and are not regular files
    (folder/'folder.jpg').mkdir()
    (folder/'dangling.jpg').symlink_to(folder/'gone.jpg')
    (folder/'circle.jpg').symlink_to(folder/'circle.jpg')
    fifo(folder/'fifo.jpg')
    return [folder/f'{n}.jpg' for n in ('folder', 'dangling', 'circle', 'fifo')]

@pytest.mark.parametrize('name', GOOD)
def test_odd_photo_is_read(name, tmp_path):
    path = tmp_path/f'{name}.jpg'; path.write_bytes(GOOD[name])
    photo = open_photo(path)
    assert photo.mode == 'RGB' and inspect_photo(path)['problem'] is None
    with open(path, 'rb') as file:
        for source in (GOOD[name], file, Image.open(path)): assert open_photo(source).tobytes() == photo.tobytes()
    for crop_mode in CROP_MODES: assert resize_square(photo, 40, crop_mode).shape == (40, 40, 3)

@pytest.mark.parametrize('name', BAD)
def test_bad_photo_is_named(name, tmp_path):
    path = tmp_path/f'{name}.jpg'; path.write_bytes(BAD[name])
    assert str(path) in complaint(open_photo, path) and inspect_photo(path)['problem']
    assert 'an upload' in complaint(open_photo, BAD[name], 'an upload')

def test_path_that_is_no_file_is_named(tmp_path, fifo):
    for path in special(tmp_path, fifo):
        assert str(path) in complaint(open_photo, path) and inspect_photo(path)['problem']

ARRAYS = dict(floats=np.zeros((40, 60, 3)), two_channels=np.zeros((40, 60, 2), np.uint8), channels_first=np.zeros((3, 40, 60), np.uint8), batch=np.zeros((2, 40, 60, 3), np.uint8),
    no_pixels=np.zeros((0, 60, 3), np.uint8), vector=np.zeros(9, np.uint8), words=np.array([['cat']]), objects=np.full((40, 60, 3), None))
OBJECTS = ARRAYS | dict(none=None, number=3, list=[JPEG], no_pixels_image=Image.new('RGB', (0, 5)), text_file=io.StringIO('cat'), tensor=torch.zeros(3, 40, 60))
@pytest.mark.parametrize('name', OBJECTS)
def test_object_that_is_no_photo(name): assert 'an upload' in complaint(open_photo, OBJECTS[name], 'an upload')

def test_bad_photo_does_not_spoil_the_others(home, tmp_path, fifo):
    folder = tmp_path/'mine'; folder.mkdir()
    for name,data in (GOOD | BAD).items(): (folder/f'{name}.jpg').write_bytes(data)
    before = contents(folder)
    lost = {str(p) for p in special(folder, fifo) if p.name != 'folder.jpg'} | {str(folder/f'{n}.jpg') for n in BAD}
    code,out,err = call(cli.pets_predict, folder, '--run', home/'runs/whole', '--format', 'json')
    rows = {r['file']: r for r in json.loads(out)}
    assert {f for f,r in rows.items() if r['error']} == lost
    assert (code, err) == (1, [f'pets_predict: {len(lost)} of {len(rows)} files could not be read'])
    alone = json.loads(call(cli.pets_predict, *(folder/f'{n}.jpg' for n in GOOD), '--run', home/'runs/whole', '--format', 'json')[1])
    for r in alone: assert abs(r['p_dog']-rows[r['file']]['p_dog']) < 1e-5
    assert before.items() <= contents(folder).items()

def test_bad_photos_given_by_name(home, tmp_path, fifo):
    "A name on the command line may also be a dangling link or a FIFO."
    run,good = ('--run', home/'runs/whole'), next((home/'pets/images').glob('*.jpg'))
    bad = [p for p in special(tmp_path, fifo) if p.name in ('dangling.jpg', 'fifo.jpg')]
    code,out,err = call(cli.pets_predict, good, *bad, *run, '--format', 'json')
    assert (code, [bool(r['error']) for r in json.loads(out)], len(err)) == (1, [False, True, True], 1)
    for path in bad: refused(cli.pets_explain, path, *run, says=path.stem, inputs=[home/'runs'])
    refused(cli.pets_predict, tmp_path/'folder.jpg', *run, says='folder.jpg')
    refused(cli.pets_predict, tmp_path/'nowhere.jpg', *run, says='nowhere.jpg')

def test_check_lists_bad_photos(pets, fifo):
    special(pets/'images', fifo)
    (pets/'images/text.jpg').write_bytes(BAD['text'])
    fifo(pets/'annotations/xmls'/f'{read_pets(pets)[0].name}_.xml')
    for i,name in enumerate(('xmls/x.xml', 'trimaps/x.png')): (pets/'annotations'/name).mkdir()
    before = contents(pets)
    code,out,err = call(cli.pets_check, pets, '--photos-only')
    assert (code, err) == (1, []) and 'undecodable' in out and contents(pets) == before

def test_photo_of_the_data_set_is_a_fifo(home, pets, fifo, tmp_path):
    victim = read_pets(pets)[0]
    for path in (victim.path, victim.trimap, victim.xml): path.unlink(); fifo(path)
    code,out,err = call(cli.pets_check, pets, '--photos-only')
    assert code in (0, 1) and not err
    assert call(cli.pets_stats, pets)[0] == 0   # as if the photo were absent

@pytest.mark.parametrize('command', [cli.pets_stats, cli.pets_train], ids=lambda c: c.__name__)
def test_bad_photo_in_the_training_split(command, home, pets, tmp_path):
    victim = read_pets(pets)[0].path; victim.write_bytes(JPEG[:300])
    words = (pets,) if command is cli.pets_stats else (home/'tiny.yaml', f'data.folder={pets}', f'results.folder={tmp_path}/runs')
    refused(command, *words, says=[str(victim), 'cannot be read'], inputs=[pets])
    assert not (tmp_path/'runs').exists()

def test_no_warnings_from_pillow(home, tmp_path):
    for name in ('palette_alpha', 'broken_exif', 'small_bomb'): (tmp_path/f'{name}.jpg').write_bytes((GOOD | BAD)[name])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        call(cli.pets_predict, tmp_path, '--run', home/'runs/whole')
    assert not [str(w.message) for w in said if 'PIL' in w.filename]

def damaged(data): # a strategy: the data with some bytes changed, cut off or appended
    def apply(plan):
        out = bytearray(data)
        for where,value in plan[0]: out[where % len(out)] = value
        return bytes(out[:len(out)-plan[1] % len(out)]) + bytes(plan[2])
    edits = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8)
    return st.tuples(edits, st.integers(0, 400) | st.just(0), st.binary(max_size=8)).map(apply)

def any_photo(folder, data):
    path = folder/'any.jpg'; path.write_bytes(data)
    inspect_photo(path)
    if not complaint(open_photo, path): assert resize_square(open_photo(path), 24).shape == (24, 24, 3)

PHOTO_DAMAGE = st.sampled_from([GOOD[n] for n in ('plain', 'png', 'gif', 'webp', 'turned6', 'palette_alpha', 'gifs', 'bmp')]).flatmap(damaged) | st.binary(max_size=200)
@FEW
@given(PHOTO_DAMAGE)
def test_any_photo(tmp_path_factory, data): any_photo(tmp_path_factory.getbasetemp(), data)
@pytest.mark.slow
@MANY
@given(PHOTO_DAMAGE)
def test_any_photo_at_length(tmp_path_factory, data): any_photo(tmp_path_factory.getbasetemp(), data)

# Lists

ROW = 'Tom_1 1 1 1\n'
LISTS = dict(columns='Tom_1 1 1\n', one='Tom_1\n', five='Tom_1 1 1 1 1\n', zero='Tom_1 1 0 1\n', three='Tom_1 1 3 1\n', word='Tom_1 1 cat 1\n', minus='Tom_1 1 -1 1\n', huge=f'Tom_1 1 {10**50} 1\n',
    float='Tom_1 1 1.0 1\n', twice=ROW*2, commas='Tom_1,1,1,1\n', climbs='../Tom_1 1 1 1\n', deep='a/../../Tom_1 1 1 1\n', absolute='/etc/passwd 1 1 1\n', windows='..\\Tom_1 1 1 1\n', drive='C:\\Tom_1 1 1 1\n',
    dots='.. 1 1 1\n', nul='To\0m_1 1 1 1\n', bell='To\am_1 1 1 1\n', escape='\x1b[2JTom_1 1 1 1\n', latin='Tom_1 1 1 1\nCafé_1 1 1 1\n'.encode('latin1'), utf16=ROW.encode('utf-16'), utf16be=ROW.encode('utf-16-be'), utf32=ROW.encode('utf-32'),
    binary=bytes(range(256)), arabic='Tom_1 1 ١ 1\n')

@pytest.mark.parametrize('name', LISTS)
def test_bad_list_names_file_and_line(name, pets):
    data = LISTS[name] if isinstance(LISTS[name], bytes) else LISTS[name].encode()
    for which in ('list', 'trainval'):
        path = pets/f'annotations/{which}.txt'; kept = path.read_bytes()
        path.write_bytes(data)
        refused(cli.pets_stats, pets, says=[str(path), 'line '], inputs=[pets])
        path.write_bytes(kept)
    path.write_bytes(data)
    code,out,err = call(cli.pets_check, pets, '--photos-only')
    assert (code, err) == (1, []) and 'lists' in out

def rewritten(pets, change):
    for s in ('list', 'trainval', 'test'):
        path = pets/f'annotations/{s}.txt'
        path.write_bytes(change(path.read_text()))

HARMLESS = dict(bom=lambda t: b'\xef\xbb\xbf'+t.encode(), crlf=lambda t: t.replace('\n', '\r\n').encode(), cr=lambda t: t.replace('\n', '\r').encode(), no_end=lambda t: t.rstrip().encode(), tabs=lambda t: t.replace(' ', '\t').encode(),
    blank=lambda t: ('\n\n'+t+' \n\t\n').encode(), ids=lambda t: re.sub(r'^(\w+) \d+', rf'\1 {10**40}', t, flags=re.M).encode(), comment=lambda t: t.encode()+'# Café\n'.encode(),
    empty=lambda t: b'', comments=lambda t: b'# nothing\n#\n', blanks=lambda t: b'\n \n')
@pytest.mark.parametrize('name', HARMLESS)
def test_odd_lists_are_read(name, pets):
    before = read_splits(pets)
    rewritten(pets, HARMLESS[name])
    assert {n: s for n,(s,_) in read_splits(pets).items()} == {n: s for n,(s,_) in before.items()}
    assert call(cli.pets_stats, pets)[::2] == (0, [])

def test_a_list_cannot_reach_outside(pets):
    "Even if it points to a photo that exists."
    (pets/'images'/'x').mkdir(); (pets/'Secret_1.jpg').write_bytes(JPEG); (pets/'images/x/Tom_1.jpg').write_bytes(JPEG)
    for name in ('../Secret_1', 'x/Tom_1', str(pets/'Secret_1')):
        rewritten(pets, lambda t: f'{name} 1 1 1\n'.encode())
        refused(cli.pets_stats, pets, says=['.txt line 1', name])

def test_lists_that_contradict(pets):
    for s,text in dict(trainval='Ghost_1 1 1 1\n', test='Ghost_1 1 1 1\n').items():
        path = pets/f'annotations/{s}.txt'; kept = path.read_text()
        path.write_text(kept+text)
        refused(cli.pets_stats, pets, says=['Ghost_1', 'annotations'], inputs=[pets])
        path.write_text(kept)
    path = pets/'annotations/trainval.txt'
    path.write_text(kept+path.read_text())
    refused(cli.pets_stats, pets, says='trainval.txt and in test.txt', inputs=[pets])

def test_names_that_differ_in_case(tmp_path):
    (tmp_path/'images').mkdir()
    for n in ('Rex_1', 'rex_1', 'REX_1', 'rEx_1'): (tmp_path/f'images/{n}.jpg').write_bytes(JPEG)
    assert {p.name: p.species for p in read_pets(tmp_path)} == dict(Rex_1=0, rex_1=1, REX_1=0, rEx_1=1)
    assert call(cli.pets_stats, tmp_path)[0] == 0

@pytest.mark.parametrize('name', ['1', '_x', '猫_1', '-x', ' x', os.fsdecode(b'Caf\xe9_1'), 'Tom\n1', 'Tom\x1b1'], ids=ascii)
def test_name_of_a_photo_in_no_list(name, tmp_path):
    (tmp_path/'images').mkdir(); (tmp_path/f'images/{name}.jpg').write_bytes(JPEG); (tmp_path/'images/Tom_1.jpg').write_bytes(JPEG)
    refused(cli.pets_stats, tmp_path, says='name', inputs=[tmp_path])
    code,out,err = call(cli.pets_check, tmp_path, '--photos-only')
    assert (code, err) == (1, [])

@pytest.mark.parametrize('folder', ['nowhere', 'images/Tom_1.jpg', 'images', 'annotations', ''])
def test_folder_that_is_no_data_set(folder, pets):
    for f in (pets/'images').iterdir(): f.rename(f.with_suffix('.txt'))
    for command in (cli.pets_stats, cli.pets_check): refused(command, pets/folder if folder else '', says=[folder], inputs=[pets])

BOXES = dict(empty='', text='box', open='<annotation>', none='<annotation/>', word='x', nan='nan', inf='inf', huge='1e400', digits='9'*5000, encoding='<?xml version="1.0" encoding="klingon"?><a/>',
    multibyte='<?xml version="1.0" encoding="shift_jis"?><a/>', utf16='<a/>'.encode('utf-16')[:-1], binary=bytes(range(256)), external='<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><bndbox><xmin>&x;</xmin></bndbox>',
    laughs='<!DOCTYPE a [<!ENTITY a0 "haha">'+''.join(f'<!ENTITY a{i} "{f"&a{i-1};"*10}">' for i in range(1, 12))+']><bndbox><xmin>&a11;</xmin></bndbox>', deep='<a>'*50_000)
@pytest.mark.parametrize('name', BOXES)
def test_bad_box(name, pets):
    data = BOXES[name]
    if name in ('word', 'nan', 'inf', 'huge', 'digits'): data = f'<a><bndbox>{"".join(f"<{k}>{data}</{k}>" for k in ("xmin", "ymin", "xmax", "ymax"))}</bndbox></a>'
    xml = read_pets(pets)[0].xml
    xml.write_bytes(data if isinstance(data, bytes) else data.encode())
    assert str(xml) in complaint(read_box, xml)
    code,out,err = call(cli.pets_check, pets, '--photos-only')
    assert (code, err) == (1, []) and 'box' in out

def any_list(folder, data):
    (folder/'annotations').mkdir(exist_ok=True, parents=True)
    (folder/'annotations/list.txt').write_bytes(data)
    line = complaint(read_splits, folder)
    if line: assert 'list.txt' in line or 'annotations' in line
    else: assert all('/' not in n and '\0' not in n for n in read_splits(folder))

ROWS = st.lists(st.tuples(st.text(max_size=8), *[st.sampled_from(['1', '2', '0', '', 'x', '1 1'])]*3).map(' '.join)).map('\n'.join)
LIST_DAMAGE = st.binary(max_size=200) | ROWS.map(lambda t: t.encode('utf-8', 'surrogatepass')) | damaged((ROW+'rex_2 2 2 1\n').encode())
@FEW
@given(LIST_DAMAGE)
def test_any_list(tmp_path_factory, data): any_list(tmp_path_factory.getbasetemp()/'list', data)
@pytest.mark.slow
@MANY
@given(LIST_DAMAGE)
def test_any_list_at_length(tmp_path_factory, data): any_list(tmp_path_factory.getbasetemp()/'list', data)

# Experiments

LAUGHS = 'a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n'+''.join(f'a{i}: &a{i} [{", ".join([f"*a{i-1}"]*9)}]\n' for i in range(1, 30))
CONFIGS = dict(unknown_section=('modle: {}', "'modle'"), unknown_key=('data: {imagesize: 3}', "'data.imagesize'"), unknown_deep=('data: {augment: {spin: 3}}', 'data.augment.spin'),
    type_text=('training: {epochs: many}', 'training.epochs'), type_list=('training: {epochs: [1]}', 'training.epochs'), type_bool=('training: {epochs: true}', 'training.epochs'), type_float=('training: {epochs: 1.5}', 'training.epochs'), type_null=('training: {epochs: null}', 'training.epochs'),
    type_section=('training: 3', 'training'), null_section=('training: null', 'training'), list_section=('training: [1]', 'training'), minus=('training: {epochs: -1}', 'training.epochs'), zero=('data: {image_size: 0}', 'data.image_size'), two_means=('data: {mean: [1, 2]}', 'data.mean'),
    nan=('optimizer: {lr: .nan}', 'optimizer.lr'), inf=('optimizer: {lr: .inf}', 'optimizer.lr'), huge=(f'optimizer: {{lr: {10**400}}}', 'optimizer.lr'), huge_int=(f'training: {{epochs: {"9"*5000}}}', 'mine.yaml'), huge_layers=(f'model: {{layers: [{10**30}, 1, 1, 1]}}', '1000 blocks'), nan_mean=('data: {mean: [.nan, .5, .5], std: [1, 1, 1]}', 'data.mean'),
    nul_folder=('data: {folder: "a\\0b"}', 'data.folder'), nul_results=('results: {folder: "a\\0b"}', 'results.folder'), three_stages=('model: {layers: [1, 1, 1]}', 'model.layers'), no_block=('model: {layers: [0, 1, 1, 1]}', 'model'), split=('results: {splits: [train]}', 'results.splits'), no_split=('results: {splits: []}', 'results.splits'),
    twice=('data: {}\ntraining:\n  epochs: 1\n  epochs: 2\n', "'epochs'", 'line 4'), section_twice=('data: {drawn: 30}\nmodel: {}\ndata: {}\n', "'data'", 'line 3'), twice_flow=('optimizer: {lr: 1, lr: 2}', "'lr'", 'line 1'), merged=('a: &a {lr: 1}\noptimizer:\n  <<: *a', 'line 3'), alias=('data: {mean: &m [.5, .5, .5], std: *m}', 'line 1'), laughs=(LAUGHS, 'line 2'), circle=('data: &a [*a]', 'line 1'),
    tag=('data: !!python/object/apply:os.system ["touch MARK"]', 'line 1'), tag_new=('data: !!python/object/new:os.system ["touch MARK"]', 'line 1'), tag_module=('data: !!python/module:os', 'line 1'), tag_name=('data: !!python/name:os.system', 'line 1'), tag_local=('data: !mine 3', 'line 1'), tag_binary=('data: !!binary x', 'line 1'), tag_bool=('data: !!bool perhaps', 'line 1'), tag_time=('data: !!timestamp x', 'line 1'), tag_int=("data: !!int ''", 'line 1'), tag_set=('data: !!set {a}', 'line 1'),
    date=('data: 2001-99-99', 'mine.yaml'), list_=('- data', 'sections'), scalar=('data', 'sections'), number=('3', 'sections'), false=('false', 'sections'), empty_list=('[]', 'sections'), zero_doc=('0', 'sections'), two=('data: {}\n---\ndata: {}', 'mine.yaml'), tabs=('data:\n\timage_size: 3', 'line 2'), open=('data: [', 'YAML'), quote=('data: "', 'YAML'), colon=('data: a: b', 'YAML'), number_key=('1: 2', 'mine.yaml'), inner_number=('data: {1: 2}', 'mine.yaml'), list_key=('? [a]\n: b', 'mine.yaml'), null_key=('~: 3', 'mine.yaml'), nul=('data:\0', 'YAML'), escape=('"\\e[2J": 3', 'mine.yaml'),
    binary=(bytes(range(256)), 'YAML'), latin=('data: {folder: Café}'.encode('latin1'), 'YAML'), utf16=('data: {}'.encode('utf-16'), 'YAML'), deep=('data: '+'['*3000, 'YAML'), deep_map=('data: '+'{a: '*3000, 'YAML'), deep_closed=('data: '+'['*150+']'*150, 'data'), long=('data: '+'x'*10**6, 'data'), long_key=('x'*900+': 1', 'mine.yaml'), value_key=('=: 1', 'mine.yaml'), progressive=('training: {progressive_depth: .5}\nmodel: {zero_init_residual: false}', 'training.progressive_depth'))
CONFIGS |= {f'{key}={value}': (f'{key.split(".")[0]}: {{{key.split(".")[1]}: {value}}}', key) for key,value in (('optimizer.lr', 0), ('optimizer.betas', '[1, 2]'), ('optimizer.momentum', 1), ('optimizer.name', 'rmsprop'), ('scheduler.gamma', 0), ('scheduler.pct_start', 1), ('scheduler.step_size', 0),
    ('training.batch_size', 1), ('training.seed', -1), ('training.clip_grad_norm', 0), ('training.label_smoothing', 1), ('training.ema_decay', 1), ('training.precision', 'fp8'), ('data.source', 'web'), ('data.val_fraction', 0), ('data.val_fraction', 1), ('data.drawn', 3), ('data.std', '[0, 1, 1]'), ('model.width', 1), ('model.head', 'three'), ('data.crop_mode', 'stretch'), ('data.crop_pct', 0), ('data.crop_pct', 1.1))}
PART = {'optimizer.betas': 'betas', 'data.std': 'std'}

@pytest.mark.parametrize('name', CONFIGS)
def test_bad_experiment(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data,*says = CONFIGS[name]
    Path('mine.yaml').write_bytes(data if isinstance(data, bytes) else data.encode())
    line = refused(cli.pets_train, 'mine.yaml', says=['mine.yaml', *(PART.get(s, s) for s in says)], inputs=[tmp_path])
    assert len(line) < 1000

def test_odd_experiments_are_read(tmp_path):
    for i,data in enumerate([b'', b'# nothing\n', b'{}', b'~', b'---\ndata: {}\n...\n', '\ufeffdata: {}'.encode(), b'data: {}\r\nmodel: {}\r\n', b'training: {epochs: "3"}']):
        path = tmp_path/f'{i}.yaml'; path.write_bytes(data)
        assert isinstance(load_config(path), Config)

OVERRIDES = ['', '=', 'x', 'epochs=3', '.=3', 'a..b=1', 'training.=3', '.epochs=3', 'training=3', 'training.epochs', 'training.epochs=', 'training.epochs=[', 'training.epochs=!!python/object/apply:os.system ["touch MARK"]', 'training.epochs=*a', 'training.epochs={a: 1, a: 2}',
    'training.epochs=nan', 'training.epochs=.inf', 'training.epochs=1e999', 'training.epochs='+'9'*5000, 'training.epochs='+'['*3000, 'training.epochs.x=3', 'training.epochs.x.y=3', 'a.b.c.d=1', '.'.join('a'*5000)+'=1', 'data.augment.flip.x=1', 'data.mean=[a]', 'model.layers=[1]', 'x'*100_000+'.y=1',
    'data.folder='+os.fsdecode(b'\xff'), 'results.folder="a\\0b"', 'training.device=tpu', 'training.device=cuda:99', 'training.device=', 'training.device=cpu:x']
@pytest.mark.parametrize('word', OVERRIDES, ids=lambda w: ascii(w)[:40])
def test_bad_override(word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refused(cli.pets_train, 'demo', 'data.folder=nowhere', 'data.source=folder', word, inputs=[tmp_path])
    assert len(line) < 1000 and list(tmp_path.iterdir()) == []

def test_experiment_that_is_no_file(tmp_path, fifo, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('folder.yaml').mkdir(); fifo(Path('fifo.yaml')); Path('link.yaml').symlink_to('gone')
    for name in ('folder.yaml', 'fifo.yaml', 'link.yaml', 'nowhere.yaml', '/', '.', 'x'*300, 'a/'*3000, os.fsdecode(b'\xff.yaml')):
        refused(cli.pets_train, name, says=name[:20] if name.isascii() else '', inputs=[tmp_path])

VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from([10**400, '~x/y', 'a\0b', 'auto']), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3), max_leaves=6)
KEYS = [(s, k) for s,f in Config.model_fields.items() for k in (*f.annotation.model_fields, 'x')] + [('data', 'augment', k) for k in ('flip', 'crop_scale', 'y')] + [('data',), ('z',)]
def any_experiment(folder, changes, text):
    raw = {}
    for keys,value in changes:
        for k in reversed(keys): value = {k: value}
        for s,v in value.items(): raw[s] = raw[s] | v if isinstance(raw.get(s), dict) and isinstance(v, dict) else v
    path = folder/'any.yaml'
    for data in (yaml.safe_dump(raw, allow_unicode=True).encode('utf-8', 'surrogatepass'), text.encode('utf-8', 'surrogatepass')):
        path.write_bytes(data)
        line = complaint(load_config, path)
        if line: assert str(path) in line and len(line) < 2000
        else: assert load_config(write_text(folder/'again.yaml', load_config(path).dumps())) == load_config(path)
CHANGES = st.lists(st.tuples(st.sampled_from(KEYS), VALUES), max_size=3)
YAMLISH = st.lists(st.sampled_from(['data', 'lr', ':', ' ', '\n', '- ', '[', ']', '{', '}', ',', '&a ', '*a', '!!', 'int', '"', "'", '|', '>', '?', '<<', '=', '~', '1', '.', 'e', 'x', '\t', '#', '%', '@', '\0', '\x85', '2001-01-01', '0x', '1:2', '---', '...']), max_size=14).map(''.join)
@FEW
@given(CHANGES, YAMLISH)
def test_any_experiment(tmp_path_factory, changes, text): any_experiment(tmp_path_factory.getbasetemp(), changes, text)
@pytest.mark.slow
@MANY
@given(CHANGES, YAMLISH | st.text())
def test_any_experiment_at_length(tmp_path_factory, changes, text): any_experiment(tmp_path_factory.getbasetemp(), changes, text)

# Checkpoints

class Evil: # a pickle that creates a file when it is loaded
    def __init__(self, mark): self.mark = str(mark)
    def __reduce__(self): return (os.system, (f'touch {self.mark}',))

def lying(data, change): # safetensors whose header was changed
    n = int.from_bytes(data[:8], 'little')
    header = json.loads(data[8:8+n]); header = change(header) or header
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, 'little')+text+data[8+n:]

def context(**changes): # safetensors with a changed description of the classifier and a right checksum; `...` removes a key
    def make(data):
        def change(header):
            about = json.loads(header['__metadata__']['resnet_pets'])
            del about['checksum']
            for keys,value in changes.items():
                *way,last = keys.split('__'); inner = about
                for k in way: inner = inner[k]
                if value is ...: del inner[last]
                else: inner[last] = value
            header['__metadata__'] = dict(resnet_pets=json.dumps(about | dict(checksum=_checksum(load(data), about))))
        return lying(data, change)
    return make

def first(header): return next(k for k in header if k != '__metadata__')
def move(h, a, b): h[first(h)]['data_offsets'] = [a, b]
def flip(at): return lambda data: data[:int(len(data)*at)]+bytes([data[int(len(data)*at)] ^ 0x10])+data[int(len(data)*at)+1:]
WEIGHTS = {f'cut{i}': lambda data, i=i: data[:len(data)*i//8] for i in range(8)} | dict(short=lambda d: d[:-1], long=lambda d: d+b'\0', **{f'flip{i}': flip(i/100) for i in (30, 50, 70, 90, 99)},
    text=lambda d: b'weights', zeros=lambda d: bytes(1000), huge_header=lambda d: b'\xff'*8+d[8:], long_header=lambda d: (10**9).to_bytes(8, 'little')+d[8:], no_json=lambda d: d[:8]+b'x'*int.from_bytes(d[:8], 'little')+d[8+int.from_bytes(d[:8], 'little'):],
    beyond=lambda d: lying(d, lambda h: move(h, 0, 10**12)), before=lambda d: lying(d, lambda h: move(h, 9, 3)), shape=lambda d: lying(d, lambda h: h[first(h)].update(shape=[10**9, 10**9])), type=lambda d: lying(d, lambda h: h[first(h)].update(dtype='X7')), bare=lambda d: lying(d, lambda h: h.pop('__metadata__') and None),
    metadata=lambda d: lying(d, lambda h: h.update(__metadata__=dict(resnet_pets='{'))), deep=lambda d: lying(d, lambda h: h.update(__metadata__=dict(resnet_pets='['*100_000))), list=lambda d: lying(d, lambda h: h.update(__metadata__=dict(resnet_pets='[]'))), renamed=lambda d: lying(d, lambda h: h.update(other=h.pop(first(h)))),
    edited=lambda d: d.replace(b'center', b'squash', 1), unknown=context(colour='red'), **{f'without_{k}': context(**{k: ...}) for k in ('network', 'size', 'mean', 'std', 'classes', 'species', 'crop_mode', 'crop_pct', 'flip')},
    deeper=context(network__layers=[2, 1, 1, 1]), wider=context(network__width=16), endless=context(network__layers=[10**9, 1, 1, 1]), vast=context(network__width=10**7), no_width=context(network__width=0), minus_width=context(network__width=-8), three_stages=context(network__layers=[1, 1, 1]), no_block=context(network__layers=[0, 1, 1, 1]),
    other_block=context(network__block='conv'), grey=context(network__in_chans=1), no_channels=context(network__in_chans=0), two_logits=context(network__num_classes=2), no_logits=context(network__num_classes=0), unknown_network=context(network__depth=3), null_network=context(network=None), list_network=context(network=[]),
    text_mean=context(mean='grey'), null_std=context(std=None), two_means=context(mean=[.5, .5]), nan_mean=context(mean=[float('nan')]*3), zero_std=context(std=[0, 0, 0]), bytes_mean=context(mean=[123.0, 117.0, 104.0]), no_size=context(size=0), minus_size=context(size=-32), half_size=context(size=32.5), text_size=context(size='large'), huge_size=context(size=10**9),
    text_classes=context(classes='cat'), number_classes=context(classes=3), one_class=context(classes=['cat']), three_classes=context(classes=['cat', 'dog', 'cow']), text_species=context(species='cat'), one_species=context(species=[0]), all_cats=context(species=[0, 0]), other_species=context(species=[0, 2]), three_species=context(species=[0, 1, 1]), crop_mode=context(crop_mode='stretch'), no_crop=context(crop_pct=0), wide_crop=context(crop_pct=2), nan_crop=context(crop_pct=float('nan')))
@pytest.mark.parametrize('name', WEIGHTS)
def test_bad_weights(name, home, spare):
    run = spare(); path = run/'best.safetensors'
    path.write_bytes(WEIGHTS[name](path.read_bytes()))
    refused(cli.pets_predict, home/'pets/images', '--run', run, says=str(path), inputs=[run])

DESCRIPTION = [*(f'network__{k}' for k in ('block', 'layers', 'width', 'in_chans', 'num_classes')), 'size', 'mean', 'std', 'classes', 'species', 'crop_mode', 'crop_pct', 'flip']
def any_description(home, changes):
    path = home/'any.safetensors'
    path.write_bytes(context(**changes)((home/'runs/whole/best.safetensors').read_bytes()))
    line = complaint(Classifier.load, path)
    if line: assert str(path) in line and len(line) < 1000
    elif (classifier := Classifier.load(path)).size < 100: complaint(classifier.predict, JPEG)
SETTINGS = st.integers(-9, 40) | st.floats() | st.lists(st.integers(-1, 2), max_size=5) | st.lists(st.floats(0, 1), min_size=3, max_size=3) | st.lists(st.sampled_from(['cat', 'dog', 'ant']), max_size=3) | st.sampled_from([..., None, True, 10**9, [10**9, 1, 1, 1], {}, '', 'basic', 'bottleneck', 'center', 'squash'])
DESCRIPTIONS = st.dictionaries(st.sampled_from(DESCRIPTION), SETTINGS, min_size=1, max_size=3)
@FEW
@given(DESCRIPTIONS)
def test_any_description(home, changes): any_description(home, changes)
@pytest.mark.slow
@MANY
@given(DESCRIPTIONS)
def test_any_description_at_length(home, changes): any_description(home, changes)

def tensors_of(path):
    with safe_open(path, 'pt') as f: return {k: f.get_tensor(k) for k in f.keys()}, f.metadata()
TENSORS = dict(missing=lambda w: w.pop('fc.weight') is None, extra=lambda w: w.update(extra=torch.zeros(3)), shape=lambda w: w.update({'fc.weight': torch.zeros(3, 3)}), half=lambda w: w.update({k: v.half() for k,v in w.items()}), whole=lambda w: w.update({'fc.weight': w['fc.weight'].long()}), none=lambda w: w.clear(), nan=lambda w: w.update({'fc.bias': torch.full_like(w['fc.bias'], float('nan'))}))
@pytest.mark.parametrize('name', TENSORS)
def test_weights_of_another_kind(name, home, spare):
    run = spare(); weights,about = tensors_of(run/'best.safetensors')
    TENSORS[name](weights)
    save_file(weights, run/'best.safetensors', metadata=about)
    refused(cli.pets_predict, home/'pets/images', '--run', run, says='best.safetensors', inputs=[run])

STATES = {f'cut{i}': lambda data, i=i: data[:len(data)*i//8] for i in range(8)} | dict(short=lambda d: d[:-1], text=lambda d: b'state', zeros=lambda d: bytes(1000), safetensors=lambda d: (8).to_bytes(8, 'little')+b'{}      ', **{f'flip{i}': flip(i/100) for i in (20, 40, 60, 80, 95)})
@pytest.mark.parametrize('name', STATES)
def test_bad_state(name, home, spare, tmp_path):
    run = spare('broken'); path = run/'last.ckpt'
    path.write_bytes(STATES[name](path.read_bytes()))
    refused(cli.pets_train, *resume(home, run), says=str(path), inputs=[home/'pets', run])

OTHER_STATES = dict(list=lambda s: [1], empty=lambda s: dict(nothing=0), text=lambda s: 'state', **{f'no_{k}': lambda s, k=k: {n: v for n,v in s.items() if n != k} for k in ('model', 'optimizer', 'step', 'history')}, no_weight=lambda s: s['model'].pop('fc.weight') is None,
    shape=lambda s: s['model'].update({'fc.weight': torch.zeros(3, 3)}), text_weight=lambda s: s['model'].update({'fc.weight': 'heavy'}), list_model=lambda s: s.update(model=[]), optimizer=lambda s: s.update(optimizer={}), groups=lambda s: s['optimizer'].update(param_groups=[]), moments=lambda s: s['optimizer']['state'].update({0: dict(exp_avg=torch.zeros(1))}),
    step=lambda s: s.update(step='one'), minus=lambda s: s.update(step=-5), beyond=lambda s: s.update(step=10**9), history=lambda s: s.update(history=5), rows=lambda s: s.update(history=[1, 2]), precision=lambda s: s.update(precision='fp7'), scheduler=lambda s: s.update(scheduler=None))
@pytest.mark.parametrize('name', OTHER_STATES)
def test_state_of_another_kind(name, home, spare):
    run = spare('broken'); state = load_state(run/'last.ckpt')
    save_state(OTHER_STATES[name](state) or state, run/'last.ckpt')
    refused(cli.pets_train, *resume(home, run), inputs=[run, home/'pets'])

def test_no_pickle_is_run(home, spare, tmp_path):
    mark = tmp_path/'MARK'
    kinds = dict(pickle=lambda p: p.write_bytes(pickle.dumps(Evil(mark))), old=lambda p: torch.save(Evil(mark), p, _use_new_zipfile_serialization=False), torch=lambda p: torch.save(Evil(mark), p), inside=lambda p: torch.save(dict(load_state(home/'runs/whole/last.ckpt'), more=Evil(mark)), p))
    for name,write in kinds.items():
        shutil.rmtree(tmp_path/'runs', ignore_errors=True)
        run = spare('broken')
        write(run/'last.ckpt')
        refused(cli.pets_train, *resume(home, run), says='last.ckpt', inputs=[run])
        write(run/'best.safetensors')
        refused(cli.pets_predict, home/'pets/images', '--run', run, says='best.safetensors', inputs=[run])
        assert complaint(Classifier.load, run/'best.safetensors') and complaint(load_state, run/'last.ckpt')
        assert not mark.exists()
    pickle.loads(pickle.dumps(Evil(mark)))   # so that the check above can fail
    assert mark.exists()

def test_nothing_can_unpickle():
    "Wherever the package reads tensors or arrays, code in them is refused."
    for path in (ROOT/'resnet_pets').glob('*.py'):
        source = path.read_text(encoding='utf-8')
        assert not re.search(r'pickle\.loads?\(|Unpickler|allow_pickle|weights_only=False|joblib|marshal|shelve|yaml\.(unsafe|full)_load|UnsafeLoader|FullLoader|\beval\(["\']|\bexec\(', source), path
        for use in re.findall(r'torch\.load\(.*', source): assert 'weights_only=True' in use
        if 'np.load(' in source or 'torch.hub' in source: assert path.name == 'batches.py' and 'torch.hub' not in source

# Decoded photos

CACHES = dict(flip=lambda f: f['.npy'].write_bytes(flip(.7)(f['.npy'].read_bytes())), head=lambda f: f['.npy'].write_bytes(flip(.0005)(f['.npy'].read_bytes())), cut=lambda f: f['.npy'].write_bytes(f['.npy'].read_bytes()[:-9]), empty=lambda f: f['.npy'].write_bytes(b''), gone=lambda f: f['.npy'].unlink(), longer=lambda f: f['.npy'].write_bytes(f['.npy'].read_bytes()+b'x'),
    objects=lambda f: np.save(f['.npy'], np.array([print], dtype=object), allow_pickle=True), other=lambda f: np.save(f['.npy'], np.zeros(3)), header=lambda f: f['.npy'].write_bytes(b"\x93NUMPY\1\0\x76\0{'descr': (((((((((((("+b'('*200), no_json=lambda f: f['.json'].unlink(), json_cut=lambda f: f['.json'].write_text(f['.json'].read_text()[:20]), json_list=lambda f: f['.json'].write_text('[]'), json_deep=lambda f: f['.json'].write_text('['*100_000), json_binary=lambda f: f['.json'].write_bytes(bytes(range(256))),
    json_digit=lambda f: f['.json'].write_text(re.sub(r'"aspect": \[\d', '"aspect": [7', f['.json'].read_text())), json_text=lambda f: f['.json'].write_text(re.sub(r'"aspect": \[[\d.]+', '"aspect": ["wide"', f['.json'].read_text())), json_nan=lambda f: f['.json'].write_text(re.sub(r'"aspect": \[[\d.]+', '"aspect": [NaN', f['.json'].read_text())), json_null=lambda f: f['.json'].write_text('null'), json_no_crc=lambda f: f['.json'].write_text(f['.json'].read_text().replace('crc', 'cry')))
@pytest.mark.parametrize('name', CACHES)
def test_damaged_cache_is_made_anew(name, home, tmp_path):
    pets = read_pets(home/'pets')[:6]
    right = photo_cache(pets, 24, folder=tmp_path)
    files = {p.suffix: p for p in tmp_path.iterdir()}
    pixels,aspect,data = right.photos.copy(), right.aspect.clone(), {s: p.read_bytes() for s,p in files.items()}
    del right
    CACHES[name](files)
    again = photo_cache(pets, 24, folder=tmp_path)
    assert (again.photos == pixels).all() and torch.equal(again.aspect, aspect)
    assert {p.suffix: p.read_bytes()[:len(data[p.suffix])] for p in tmp_path.iterdir()} == data   # bytes after the end do no harm and stay

def test_cache_notices_another_photo(pets, tmp_path):
    few = read_pets(pets)[:6]
    before = photo_cache(few, 24, folder=tmp_path/'cache').photos.copy()
    few[2].path.write_bytes(JPEG)
    assert (photo_cache(few, 24, folder=tmp_path/'cache').photos[2] != before[2]).any()
    few[3].path.write_bytes(b'no photo')
    files = contents(tmp_path/'cache')
    assert str(few[3].path) in complaint(photo_cache, few, 24, folder=tmp_path/'cache')
    assert contents(tmp_path/'cache') == files
    few[3].path.unlink()
    assert str(few[3].path) in complaint(photo_cache, few, 24, folder=tmp_path/'cache')

def test_cache_where_none_can_be(home, tmp_path):
    (tmp_path/'file').write_text('in the way')
    assert str(tmp_path/'file') in complaint(photo_cache, read_pets(home/'pets')[:2], 24, folder=tmp_path/'file')

@pytest.mark.slow
def test_two_processes_make_one_cache(home, tmp_path):
    code = f'from resnet_pets.data import read_pets; from resnet_pets.batches import photo_cache; import zlib; c = photo_cache(read_pets({str(home/"pets")!r}), 200, folder={str(tmp_path)!r}); print(zlib.crc32(c.photos), c.aspect.sum().item())'
    both = [subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | dict(TQDM_DISABLE='1')) for _ in range(2)]
    said = [p.communicate() for p in both]
    assert [p.returncode for p in both] == [0, 0], said
    assert said[0] == said[1] and said[0][1] == '' and len(list(tmp_path.iterdir())) == 2

# Command lines

COMMANDS = dict(check=cli.pets_check, stats=cli.pets_stats, train=cli.pets_train, evaluate=cli.pets_evaluate, compare=cli.pets_compare, predict=cli.pets_predict, explain=cli.pets_explain, export=cli.pets_export)
LINES = ['check', 'stats', 'train', 'evaluate', 'compare', 'predict', 'explain', 'export', 'check PETS --wrong', 'train demo --epochs 3', 'evaluate RUN --split', 'evaluate RUN --split train', 'compare RUN', 'compare RUN RUN RUN', 'predict --run RUN', 'stats PETS --val-fraction half', 'stats PETS --val-fraction nan', 'stats PETS --val-fraction inf', 'stats PETS --val-fraction -1', 'stats PETS --val-fraction 1', 'stats PETS --split-seed x',
    'stats PETS --split-seed 1.5', 'stats PETS --split-seed '+'9'*5000, 'stats PETS --figures FILE', 'check PETS --photos-only --json PETS', 'check PETS --photos-only --json FILE/x.json', 'check PETS --recipe nothing', 'check PETS --photos-only --json '+'x'*300,
    'predict PETS --run', 'predict PETS --run RUN --format xml', 'predict PETS --run RUN --device tpu', 'predict PETS --run RUN --device cuda:99', 'predict PETS --run RUN --device meta', 'predict PETS --run RUN --device ""', 'evaluate RUN --device tpu', 'explain --run RUN --device tpu', 'explain PETS/images --run RUN', 'explain PETS/images', 'explain PHOTO --run RUN --out FILE', 'explain PHOTO --run RUN --out FILE/x', 'explain PHOTO --run RUN --out ""', 'explain PHOTO --out '+'x'*300, 'export RUN --format pdf', 'export RUN --out FILE/x', 'export RUN --out ""', 'export nowhere', 'export UNTRAINED',
    'evaluate ""', 'compare "" RUN', 'compare RUN ""', 'predict PETS --run ""', 'predict "" --run RUN', 'explain --run ""', 'explain "" --run RUN', 'train ""', 'check ""', 'stats ""', 'export ""', 'evaluate nowhere', 'evaluate FILE', 'evaluate PETS', 'evaluate FILE/x', 'compare RUN FILE', 'compare FILE RUN', 'predict PETS --run FILE', 'predict PETS --run PETS', 'predict PETS --run nowhere', 'predict PETS --run UNTRAINED', 'explain --run FILE', 'explain --run nowhere', 'explain --run tiny_pets', 'explain PHOTO --run nowhere', 'explain PHOTO --run UNTRAINED', 'explain --run UNTRAINED', 'evaluate '+'x'*300, 'evaluate '+'x/'*3000, 'predict PETS --run '+'x'*300, 'predict '+'x'*300,
    'evaluate RUN --photos nowhere', 'evaluate RUN --photos FILE', 'evaluate RUN --photos RUN', 'evaluate RUN --photos ""', 'evaluate UNFINISHED', 'compare RUN UNFINISHED', 'compare UNFINISHED RUN', 'compare RUN RUN --split test', 'train TINY --run whole', 'train TINY --run whole --resume --overwrite', 'train TINY --run whole --resume optimizer.lr=1', 'train TINY --run .', 'train TINY --run ..', 'train TINY --run ../x', 'train TINY --run a/../../x', 'train TINY --run /tmp/climbed_run_zq', 'train TINY --run LINK/x', 'train TINY --run whole/inner', 'train TINY --run '+'x'*300, 'train TINY --run new results.folder=FILE', 'train TINY --run new data.folder=FILE', 'train TINY --run new data.folder=nowhere', 'train TINY --run new data.folder=~nobody_of_this_name/x', 'train ~nobody_of_this_name/x',
    *(f'{line} ~nobody_of_this_name/x' for line in ('check', 'stats', 'evaluate', 'evaluate RUN --photos', 'compare RUN', 'predict', 'predict PETS --run', 'explain', 'explain --run', 'explain PHOTO --run', 'export'))]
@pytest.mark.parametrize('line', LINES, ids=lambda l: l[:40])
def test_bad_command_line(line, home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'file').write_text('a file')
    (tmp_path/'untrained').mkdir(); shutil.copy(home/'runs/whole/config.yaml', tmp_path/'untrained')
    link = home/'runs/link'
    if not link.is_symlink(): link.symlink_to(home)
    places = dict(PETS=home/'pets', PHOTO=next((home/'pets/images').glob('*.jpg')), RUN=home/'runs/whole', UNFINISHED=home/'runs/broken', UNTRAINED=tmp_path/'untrained', FILE=tmp_path/'file', TINY=home/'tiny.yaml', LINK='link')
    name,*words = [re.sub('[A-Z]{3,}', lambda m: str(places[m[0]]), w) if w != '""' else '' for w in line.split(' ')]
    refused(COMMANDS[name], *words, inputs=[home/'pets', home/'runs', tmp_path])
    assert not Path('/tmp/climbed_run_zq').exists()

ODD_NAMES = [os.fsdecode(b'caf\xe9.jpg'), 'a b.jpg', "it's.jpg", '$x$.jpg', '$\\frac{.jpg', '-x.jpg', 'a\nb.jpg', '\x1b[2J.jpg', 'x'*240+'.jpg', '猫.jpg', '%s{0}.jpg', '<b>.jpg', '_^$.jpg']
def test_photos_with_odd_names(home, tmp_path):
    for n in ODD_NAMES: (tmp_path/n).write_bytes(GOOD['plain'])
    for format in ('table', 'csv', 'json'):
        code,out,err = call(cli.pets_predict, tmp_path, '--run', home/'runs/whole', '--format', format)
        assert (code, err) == (0, [])
    assert sorted(r['file'] for r in json.loads(out)) == sorted(str(tmp_path/n) for n in ODD_NAMES)

def test_explain_photos_with_odd_names(home, spare, tmp_path):
    folder = tmp_path/'odd'; folder.mkdir()
    for n in ODD_NAMES: (folder/n).write_bytes(GOOD['plain'])
    run = spare()
    code,out,err = call(cli.pets_explain, folder, '--run', run)
    assert (code, err) == (0, []) and (run/'explain.md').is_file()

def in_terminal(command, *words, **env):
    return subprocess.run([sys.executable, '-c', f'import sys; from resnet_pets.cli import {command}; sys.exit({command}())', *words], capture_output=True, timeout=300, env=os.environ | dict(TQDM_DISABLE='1') | env)

def test_odd_names_in_a_terminal(home, tmp_path):
    for n in ODD_NAMES: (tmp_path/n).write_bytes(GOOD['plain'])
    (tmp_path/os.fsdecode(b'b\xe4d.jpg')).write_bytes(b'text')
    done = in_terminal('pets_predict', tmp_path, '--run', home/'runs/whole')
    assert (done.returncode, done.stderr) == (1, f'pets_predict: 1 of {len(ODD_NAMES)+1} files could not be read\n'.encode())

@pytest.mark.slow
@pytest.mark.parametrize('encoding', ['ascii', 'latin-1', 'utf-8'])
def test_terminals_of_other_encodings(home, tmp_path, encoding):
    (tmp_path/'images').mkdir()
    for n in (*ODD_NAMES, 'Tom_1.jpg'): (tmp_path/'images'/n).write_bytes(GOOD['plain'])
    for command,code,words in (('pets_predict', 0, (tmp_path/'images', '--run', home/'runs/whole')), ('pets_check', 1, (tmp_path, '--json', tmp_path/'found.json')), ('pets_stats', 2, (tmp_path,)), ('pets_check', 0, (home/'pets', '--recipe', home/'tiny.yaml'))):
        done = in_terminal(command, *words, PYTHONIOENCODING=encoding)
        assert done.returncode == code and len(done.stderr.splitlines()) == (code == 2), done.stderr

# Files of a run

FILES = ('config.yaml', 'photos.csv', 'history.csv', 'predictions.csv', 'report.json', 'best.safetensors', 'last.ckpt')
def half(data, lines): return data[:data.rfind(b'\n', 0, len(data)//2)+1 if lines else len(data)//2]
DAMAGES = dict(gone=lambda p: p.unlink(), empty=lambda p: p.write_bytes(b''), binary=lambda p: p.write_bytes(bytes(range(256))), cut=lambda p: p.write_bytes(half(p.read_bytes(), p.suffix == '.csv')), other=lambda p: p.write_text('[1, 2]'), folder=lambda p: (p.unlink(), p.mkdir()))
READS = dict(evaluate={'config.yaml', 'photos.csv', 'report.json', 'best.safetensors'}, compare={'config.yaml', 'photos.csv', 'predictions.csv', 'report.json'}, predict={'best.safetensors'}, explain={'photos.csv', 'best.safetensors'}, resume={'config.yaml', 'photos.csv', 'best.safetensors', 'last.ckpt'})
USES = [(c, f, d) for c in READS for f in FILES for d in DAMAGES if c != 'resume' or f not in ('report.json', 'predictions.csv')]
def needed(command, file, damage): # must the command refuse the run?
    return (file == 'config.yaml' and damage in ('gone', 'folder')) or (command, file, damage) == ('evaluate', 'predictions.csv', 'folder') or file in READS[command] and (command, file, damage) != ('resume', 'last.ckpt', 'gone')
def cases(wanted): return [pytest.param(*u, id='-'.join(u)) for u in USES if needed(*u) == wanted]

def damaged_run(home, spare, command, file, damage): # the run, the command and its words
    run = spare('broken' if command == 'resume' else 'whole')
    DAMAGES[damage](run/file)
    one = () if file == 'photos.csv' else (next((home/'pets/images').glob('*.jpg')),)
    words = dict(evaluate=(run,), compare=(home/'runs/whole', run), predict=(home/'pets/images', '--run', run), explain=(*one, '--run', run), resume=resume(home, run))[command]
    return run, COMMANDS['train' if command == 'resume' else command], words

@pytest.mark.parametrize('command,file,damage', cases(True))
def test_run_with_a_damaged_file(command, file, damage, home, spare):
    run,f,words = damaged_run(home, spare, command, file, damage)
    begun = (command, file) == ('resume', 'best.safetensors')   # its log and history are written by then
    refused(f, *words, says=str(run), inputs=[home/'pets'] if begun else [run, home/'pets'])

@pytest.mark.slow
@pytest.mark.parametrize('command,file,damage', cases(False))
def test_run_with_a_damaged_file_that_is_not_needed(command, file, damage, home, spare):
    run,f,words = damaged_run(home, spare, command, file, damage)
    assert call(f, *words)[::2] == (0, [])

# Writing

@pytest.mark.parametrize('kind', ['folder', 'fifo', 'socket', 'link to a device'])
def test_only_files_are_replaced(kind, tmp_path, fifo):
    path = tmp_path/'there'
    if kind == 'folder': path.mkdir()
    elif kind == 'fifo': fifo(path)
    elif kind == 'socket': socket.socket(socket.AF_UNIX).bind(str(path))
    else: path.symlink_to('/dev/null')
    before = contents(tmp_path)
    assert str(path) in complaint(write_text, path, 'x')
    assert contents(tmp_path) == before

def test_the_longest_name_can_be_written(tmp_path):
    assert write_text(tmp_path/('猫'*85), 'x').read_text() == 'x'
