"A training that is stopped anywhere and resumed from its checkpoint ends with the same weights, to the bit, in every way of training."
import math, pytest, torch
from resnet_pets.batches import Batches, cache_size, photo_cache
from resnet_pets.blocks import BasicBlock
from resnet_pets.checkpoints import load_state, save_state
from resnet_pets.config import Augmentation, Config
from resnet_pets.core import seeded
from resnet_pets.data import read_pets
from resnet_pets.draw import draw_pets
from resnet_pets.resnet import ResNet
from resnet_pets.training import Trainer

WAYS = dict(plain={}, growing=dict(progressive_depth=.7), growing_averaged=dict(progressive_depth=.7, ema_decay=.9),
    accumulation=dict(grad_accum_steps=2), clipped=dict(clip_grad_norm=1., label_smoothing=.1))

@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    pets = read_pets(draw_pets(tmp_path_factory.mktemp('resume')/'pets', n=64, size=48))
    return photo_cache(pets, cache_size(32)), torch.tensor([p.species for p in pets])

def trainer(photos, precision, **training)->Trainer:
    cache,species = photos
    batches = Batches(cache, 32, [.5]*3, [.25]*3, 16, Augmentation(), drop_last=True)
    with seeded(0, 'weights'): model = ResNet(BasicBlock, (2, 2, 2, 2), num_classes=2, width=8, zero_init_residual=True)
    return Trainer(model, batches, species, Config(training=dict(epochs=3, batch_size=16) | training), precision)

def steps(trainer, n):
    for _ in range(n): trainer.train_step()
    return trainer

@pytest.mark.parametrize('precision', ['fp32', 'bf16', 'fp16'])
@pytest.mark.parametrize('way', WAYS)
def test_resumed_equals_straight(photos, tmp_path, way, precision):
    straight = steps(trainer(photos, precision, **WAYS[way]), 12)
    for stop in (1, 5, 11):
        path = save_state(steps(trainer(photos, precision, **WAYS[way]), stop).state_dict(), tmp_path/'last.ckpt')
        resumed = trainer(photos, precision, **WAYS[way])
        resumed.load_state_dict(load_state(path))
        steps(resumed, 12-stop)
        for a,b in zip(straight.best_model.state_dict().values(), resumed.best_model.state_dict().values(), strict=True): assert torch.equal(a, b)

def test_skipped_step_of_the_scaler(photos):
    "A gradient that overflows in fp16 is not applied: the weights stay and the scale is halved."
    t = trainer(photos, 'fp16')
    t.scaler = torch.amp.GradScaler('cpu', init_scale=2.**40)
    before = {k: v.clone() for k,v in t.model.named_parameters()}
    loss = t.train_step()
    assert math.isfinite(loss) and t.scaler.get_scale() == 2.**39 and t.step == 1
    assert all(torch.equal(v, before[k]) for k,v in t.model.named_parameters())

def test_depth_grows_with_the_steps(photos):
    t = trainer(photos, 'fp32', progressive_depth=.5)   # 6 of 12 steps
    used = []
    for _ in range(8):
        t.train_step()
        used.append(sum('forward' not in vars(b) for b in t.model.layer1))
    assert used == [1, 1, 1, 1, 2, 2, 2, 2]
