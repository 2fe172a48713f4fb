# What the study asks of each model: what a plan reckons with, and what there must be room for.
from stable_regions import plan, room
from stable_regions.measures import DISTANCES


def planned_work():
    """What the study asks of each model, job by job: the fields of `plan.Work`."""
    works = []
    for model, refs in checkpoints().items():
        source = CONFIG.models[model].source
        works.append(
            {
                "stage": "training",
                "model": model,
                "jobs": 1,
                "threads": threads_of(model),
                "loads": 0,
                "tokens": tokens_trained(model),
                "updates": source.steps,
                "checkpoints": 2 * len(refs),  # as trained, and with a tokenizer
            }
        )
    for prompts, job, refs in activation_runs():
        contexts, each = prompt_counts(prompts)
        layers = len(layers_written(prompts, job)) + len(layers_compared(prompts, job))
        count = contexts * each * len(refs)
        works.append(
            work("activations", job, refs, jobs=1)
            | {
                "tokens": token_count(prompts) * len(refs),
                "vectors": count * (layers + 2),
            }
        )
    for kind in ("interpolation", "choices", "plane", "polytopes", "pairwise"):
        for name, job, refs in runs(kind):
            layers = CONFIG.experiments[name].layers
            swept = [
                {
                    "way": way,
                    "dtype": other or model_of(job).dtype,
                    "points": points * len(refs),
                    "layers": layers,
                }
                for way, other, points in sweeps(name)
            ]
            works.append(
                work(kind, job, refs, jobs=job_count(name)) | {"sweeps": swept}
            )
    return works


def work(stage, job, refs, *, jobs):
    """What is said of every job that runs models."""
    return {
        "stage": stage,
        "model": settings.split(job)[0],
        "jobs": jobs,
        "threads": threads_of(job),
        "loads": jobs * len(refs),
        "dtype": model_of(job).dtype,
    }


def planned_sources():
    """What each model comes from, for the bytes it takes: a package, the hub, or this disk."""
    found = {}
    for ref in study_models():
        model = settings.split(ref)[0]
        source = CONFIG.models[model].source
        found[model] = {
            "kind": source.kind,
            "revisions": sum(settings.split(r)[0] == model for r in study_models()),
            "checkpoints": bool(CONFIG.models[model].revisions()),
            "megabytes": (
                CONFIG.packages[source.package].megabytes
                if source.kind == "package"
                else 0
            ),
        }
    return found


def planned_texts():
    """Megabytes of the packages, and of the hub's files, that the study's texts come in."""
    corpora = [CONFIG.corpora[name] for name in study_corpora()]
    packages = {corpus.package for corpus in corpora if corpus.kind == "package"}
    of_hub = {
        (corpus.repository, tuple(corpus.files)): corpus.megabytes or 0
        for corpus in corpora
        if corpus.kind == "hub"
    }
    return sum(CONFIG.packages[name].megabytes for name in packages) + sum(
        of_hub.values()
    )


def planned_clusters():
    """Matrices that are clustered and scored, by how many prompts they have: for their time."""
    found = []
    for name in of_kind("pairwise"):
        wanted = CONFIG.experiments[name]
        contexts, count = prompt_counts(wanted.prompts)
        distances = len(DISTANCES) * len(wanted.layers) + len(wanted.geometry)
        found.append(
            {
                "prompts": count,
                "matrices": contexts * distances * len(EXPERIMENTS[name]),
                "labels": len(wanted.clusters.labels),
                "draws": wanted.clusters.draws,
                "sizes": 1 + len(wanted.clusters.sweep),
            }
        )
    return found


def check_room():
    """Stop in one line if this machine has no room for the study.

    What comes from the hub is held against the disk of its cache, when it is fetched. On a GPU or
    under a scheduler it is not this machine's memory that counts.
    """
    shapes = {name: shape for name in model_names() if (shape := shape_told(name))}
    sources = {
        name: plan.Source.of(shapes[name], **facts)
        for name, facts in planned_sources().items()
        if name in shapes and facts["kind"] != "hub"
    }
    works = [plan.Work.of(fields) for fields in planned_work()]
    budget = COMPUTE.memory_budget_mb * 2**20
    disk, memory = plan.room(works, shapes, sources, budget)
    models = [folder(ref) for ref in study_models()]
    trained = [f"resources/training/{name}" for name in trained_models()]
    try:
        room.check_disk(disk, room.bytes_below([f"results/{STUDY}", *models, *trained]))
        if workflow.local_exec and not any(map(gpus_of, study_models())):
            room.check_memory(memory)
    except UserError as error:
        raise WorkflowError(f"study {STUDY}: {error}")
