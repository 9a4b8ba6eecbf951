"""PEZ (Wen et al., 2023, "Hard Prompts Made Easy"): words whose CLIP embedding is nearest to a picture's, by gradient.

A white box of CLIP and no call of the text-to-image model: the prompt is drawn only when it is done.
"""

import warnings
from functools import lru_cache

import numpy as np
import torch
from torch.nn.functional import normalize

from rldf_utils.arguments import integer, real
from rldf_utils.perceive import Clip


@lru_cache(maxsize=1)
def vocabulary(clip: Clip) -> dict[int, str]:
    """Token number -> text, of every token that is a word by itself: its text is tokenised as that token and no other.

    Special tokens and parts of words are none, so a prompt of such words, with spaces between, is read as the same tokens.

    Raises:
        ValueError: there is no such token, or the model has no token embeddings of open_clip's own.
    """
    decode = getattr(clip.tokenize, "tokenizer", clip.tokenize).decode  # of transformers, or open_clip's own
    texts = [decode([number]).strip() for number in range(_embedding(clip).num_embeddings)]
    begin, end = clip.tokenize([""])[0, :2].tolist()
    ids = clip.tokenize(texts)
    alone = (ids[:, 0] == begin) & (ids[:, 1] == torch.arange(len(ids))) & (ids[:, 2] == end)
    alone[[begin, end]] = False
    if not alone.any():
        raise ValueError(f"{clip.fingerprint} reads no token as a word between a first and a last token; take a CLIP such as ViT-L-14")
    return {number: texts[number] for number in alone.nonzero()[:, 0].tolist()}


def _embedding(clip: Clip) -> torch.nn.Embedding:
    """The table of token embeddings of an open_clip model with a text tower of open_clip's own."""
    tower = getattr(clip.model, "text", clip.model)
    if not hasattr(tower, "token_embedding"):
        raise ValueError(f"{clip.fingerprint} has no token embeddings of open_clip's own; take a CLIP such as ViT-L-14")
    return tower.token_embedding


def pez(clip: Clip, embedding: np.ndarray, tokens: int = 8, steps: int = 3000, seed: int = 0, starts: int = 1, rate: float = 0.1,
        decay: float = 0.1) -> str:  # fmt: skip
    """The prompt of `tokens` words with the highest cosine to an image's embedding that gradient steps come by.

    Soft token embeddings are moved by AdamW. Each step takes the words nearest to them, by cosine, for the forward pass
    and hands their gradient to the soft ones. The answer is the best of all words so tried. The defaults are the
    authors'; they project on parts of words too, and such a prompt may be read as other tokens.

    Args:
        embedding: the image's, (d,), as of `Clip.embed_images`.
        steps: prompts that are looked at from each start, the random one included.
        starts: random prompts from which the steps begin, side by side; the best of all is the answer.
        rate, decay: learning rate and weight decay.

    Raises:
        ValueError: a number out of range, an embedding of another size, or a model without token embeddings of its own.
    """
    table, words = _embedding(clip), vocabulary(clip)
    steps, starts, rate, decay = integer("steps", steps, 1), integer("starts", starts, 1), real("rate", rate, 0), real("decay", decay, 0)
    tokens = integer("tokens", tokens, 1, clip.tokenize.context_length - 2)
    width = clip.embed_texts([""]).shape[1]
    if np.shape(embedding) != (width,):
        raise ValueError(f"an embedding of shape {np.shape(embedding)}; this model's have ({width},)")
    goal = normalize(torch.as_tensor(embedding, dtype=torch.float32, device=clip.device), dim=0)
    numbers = torch.tensor(list(words), device=clip.device)
    known = table.weight.detach()[numbers].float()
    directions = normalize(known, dim=1)
    first = torch.randint(len(numbers), (starts, tokens), generator=torch.Generator().manual_seed(integer("seed", seed)))
    soft = known[first.to(clip.device)].clone().requires_grad_()
    optimiser = torch.optim.AdamW([soft], lr=rate, weight_decay=decay)
    ids = clip.tokenize([" ".join([next(iter(words.values()))] * tokens)] * starts).to(clip.device)
    through = table.register_forward_hook(lambda _, __, out: _straight_through(out, soft))
    best, answer = -np.inf, first[0]
    try:
        for _ in range(steps):
            with torch.no_grad():
                nearest = (normalize(soft, dim=2) @ directions.T).argmax(2)
            ids[:, 1 : tokens + 1] = numbers[nearest]
            cosines = clip.model.encode_text(ids, normalize=True).float() @ goal
            if cosines.max() > best:
                best, answer = cosines.max().item(), nearest[cosines.argmax()].cpu()
            soft.grad = torch.autograd.grad(-cosines.sum(), soft)[0]
            optimiser.step()
    finally:
        through.remove()
    chosen = numbers.cpu()[answer]
    prompt = " ".join(words[number] for number in chosen.tolist())
    if clip.tokenize([prompt])[0, 1 : tokens + 1].tolist() != chosen.tolist():
        warnings.warn(f"{prompt!r} is read as other tokens than those that were optimised", stacklevel=2)
    return prompt


def _straight_through(embedded: torch.Tensor, soft: torch.Tensor) -> torch.Tensor:
    """Token embeddings (n, context, width) as they are, their gradient in the prompt's places handed to the soft ones."""
    places = slice(1, soft.shape[1] + 1)
    return torch.cat([embedded[:, :1], embedded[:, places] + (soft - soft.detach()), embedded[:, places.stop :]], 1)
