"""Every kind of mistake, with its line, its path, the rule and the valid names."""

# ruff: noqa: E501 - a table of messages, each on its line

from pathlib import Path

import pytest

from orchestrator.studyfile import ConfigError, load

ARCHS = "unet, unetplusplus, manet, linknet, fpn, pspnet, deeplabv3, deeplabv3plus, pan, upernet, segformer, hrnet"
TRAIN = "epochs, batch_size, lr, optimizer, poly_power, warmup_epochs, warmup_steps, encoder_lr_factor, clip_norm, loss, class_weights, compile, precision, tf32, accumulate, memory"
TOP = "study, objective, preset, data, model, train, suppression, evaluation, search, confirm, ablation, resources, budget, tracking"

MISTAKES = [
    # names outside a closed set
    ({"modle": "1"}, f"10 modle: unknown key 'modle'; one of {TOP} (did you mean 'model'?)"),
    ({"train": "{epochs: 1, batch_size: 1, epoch: 2}"}, f"5 train.epoch: unknown key 'epoch'; one of {TRAIN} (did you mean 'epochs'?)"),
    ({"data": "{name: shapes, root: x}"}, "3 data.root: unknown key 'root'; one of rare_class_sampling, rare_copy_paste, name, size, train_images, val_images, rho, seed, augment"),
    ({"suppression": "{sampling: {name: invfreq}, p_max: {uniform: [0, 1]}}"}, "6 suppression.sampling: unknown 'invfreq'; one of uniform, present, frequency, inverse_frequency, effective_number, temperature, difficulty, co_occurrence, round_robin, listed (did you mean 'inverse_frequency'?)"),
    # a name that is a setting of another option, or of its own
    ({"train": "{epochs: 1, batch_size: 1, loss: {name: ce, gamma: 2}}"}, "5 train.loss.gamma: unknown key 'gamma'; one of name"),
    ({"suppression": "{sampling: {name: temperature, tau: 1}, p_max: {uniform: [0, 1]}}"}, "6 suppression.sampling.tau: unknown key 'tau'; one of name, temperature"),
    # one word, or something else
    ({"evaluation": "{context: {classes: meadow}}"}, "10 evaluation.context.classes: expected all or a list, got 'meadow'"),
    ({"evaluation": "{context: {frames: every}}"}, "10 evaluation.context.frames: expected all or a whole number, got 'every'"),
    ({"evaluation": "{corruptions: {every: first}}"}, "10 evaluation.corruptions.every: expected last or a whole number, got 'first'"),
    # references that make no trial
    ({"data": "{name: shapes, rare_class_sampling: {}}", "search": "{trials: 1, references: [plain, logit_adjusted]}"}, "7 search.references[1]: the reference logit_adjusted: train: logit_adjusted adjusts to the shares of the training pixels, which data.rare_class_sampling changes; use one"),
    ({"train": "{epochs: 1, batch_size: 1}", "search": "{trials: 1, references: [erase_elsewhere]}"}, "7 search.references[0]: the reference erase_elsewhere: train.batch_size: mask elsewhere takes another image of the batch: at least 2, got 1"),
    # no effect
    ({"suppression": "{sampling: {name: listed, classes: [meadow]}, num_classes: 2, p_max: {uniform: [0, 1]}}"}, "6 suppression.num_classes: has no effect: listed draws all of its classes; leave it out"),
    ({"data": "{name: shapes, rare_copy_paste: 0.5}", "train": "{epochs: 1, batch_size: 1}"}, "5 train.batch_size: data.rare_copy_paste takes another image of the batch: at least 2, got 1"),
    ({"model": "{arch: dpt, encoder: resnet18}"}, f"4 model.arch: unknown 'dpt'; one of {ARCHS}; dpt's decoder needs the prefix tokens of a ViT encoder besides the feature maps"),
    ({"model": "{arch: FPN, encoder: resnet18}"}, f"4 model.arch: unknown 'FPN'; one of {ARCHS} (did you mean 'fpn'?)"),
    ({"model": "{arch: 3, encoder: resnet18}"}, f"4 model.arch: expected one of {ARCHS}; got 3"),
    ({"model": "{arch: fpn, encoder: resnt18}"}, "4 model.encoder: unknown encoder 'resnt18'; close names: resnet18, resnet152, resnet101; tu-NAME takes any timm model"),
    ({"model": "{arch: fpn, encoder: qqq}"}, "4 model.encoder: unknown encoder 'qqq'; 76 names are known; tu-NAME takes any timm model"),
    ({"search": "{trials: 1, sampler: tp}"}, "7 search.sampler: unknown 'tp'; one of tpe, gp, random, qmc, nsgaii, cmaes, grid (did you mean 'tpe'?)"),
    ({"search": "{trials: 1, pruner: {name: asha, grace: 1}}"}, "7 search.pruner.grace: unknown key 'grace'; one of name, grace_epochs, reduction_factor (did you mean 'grace_epochs'?)"),
    # missing keys
    ({"data": "{name: camvid}"}, "3 data.root: missing"),
    ({"data": "{rho: 1}"}, "3 data: missing key 'name'; one of shapes, camvid, cityscapes, voc, folder"),
    ({"objective": "{metric: val/miou}"}, "2 objective.mode: missing"),
    # types
    ({"train": "{epochs: '2', batch_size: 1}"}, "5 train.epochs: expected a whole number, got '2'"),
    ({"train": "{epochs: 2.0, batch_size: 1}"}, "5 train.epochs: expected a whole number, got 2.0"),
    ({"train": "{epochs: 2, batch_size: true}"}, "5 train.batch_size: expected a whole number, got true"),
    ({"train": "{epochs: 2, batch_size: 1, lr: null}"}, "5 train.lr: expected a number, got null"),
    ({"train": "{epochs: 2, batch_size: 1, lr: {a: 1}}"}, "5 train.lr: expected a number, got a mapping"),
    ({"train": "{epochs: 2, batch_size: 1, lr: [1]}"}, "5 train.lr: expected a number, got a list"),
    ({"train": "{epochs: 2, batch_size: 1, lr: .nan}"}, "5 train.lr: must be finite, got NaN"),
    ({"train": "[1]"}, "5 train: expected a mapping; got a list"),
    ({"suppression": "{sampling: invfreq, p_max: {uniform: [0, 1]}}"}, "6 suppression.sampling: unknown 'invfreq'; one of uniform, present, frequency, inverse_frequency, effective_number, temperature, difficulty, co_occurrence, round_robin, listed (did you mean 'inverse_frequency'?)"),
    ({"suppression": "{sampling: 3, p_max: {uniform: [0, 1]}}"}, "6 suppression.sampling: expected a mapping with a name, one of uniform, present, frequency, inverse_frequency, effective_number, temperature, difficulty, co_occurrence, round_robin, listed; got 3"),
    ({"suppression": "{layer: encoder.6, p_max: {uniform: [0, 1]}}"}, "6 suppression.layer: unknown 'encoder.6'; one of input, encoder.1, encoder.2, encoder.3, encoder.4, encoder.5, branch.1, branch.2, branch.3, branch.4, decoder (did you mean 'encoder.5'?)"),
    ({"suppression": "{layer: [decoder, decoder], p_max: {uniform: [0, 1]}}"}, "6 suppression.layer: lists a layer twice"),
    ({"suppression": "{layer: [], p_max: {uniform: [0, 1]}}"}, "6 suppression.layer: expected at least 1 value, got 0"),
    ({"suppression": "{layer: encoder.4, importance: classifier, p_max: {uniform: [0, 1]}}"}, "6 suppression.importance: the classifier's weights fit the decoder's channels only; use auto, auxiliary or gradient at encoder.4"),
    ({"suppression": "{layer: input, alpha: {uniform: [0, 1]}}"}, "6 suppression.alpha: has no effect: a trial that only erases has one path and no block; leave it out"),
    ({"suppression": "{layer: [input], recalibrate: false, p_max: {uniform: [0, 1]}}"}, "6 suppression.recalibrate: has no effect: a trial that only erases has one path and no block; leave it out"),
    ({"suppression": "{choice: [{gate_norm: mean}, {mechanism: {name: erase, fill: swap}, gate_norm: mean}]}"}, "6 suppression.gate_norm: has no effect: a trial that only erases has one path and no block; leave it out"),
    ({"suppression": "{layer: {choice: [input, decoder]}, mechanism: {choice: [auto, projection]}}"}, "6 suppression.mechanism: 'projection' changes channels, of which input has none to change; use erase, or auto (erase at the input, gate elsewhere)"),
    ({"suppression": "{mechanism: {name: erase, fill: none, labels: kept}, p_max: {uniform: [0, 1]}}"}, "6 suppression.mechanism.labels: with fill none and the labels kept nothing is suppressed"),
    ({"suppression": "{mechanism: {name: erase, mask: elsewhere}, p_max: {uniform: [0, 1]}}", "train": "{epochs: 1, batch_size: 1}"}, "5 train.batch_size: mask elsewhere takes another image of the batch: at least 2, got 1"),
    ({"suppression": "{sampling: {name: listed, classes: [meadw, sand]}, p_max: {uniform: [0, 1]}}"}, "6 suppression.sampling.classes: unknown class 'meadw'; one of meadow, sand, disk_rising, disk_falling, square_rising, square_falling (did you mean 'meadow'?)"),
    ({"suppression": "{sampling: {name: listed, classes: [sand, sand]}, p_max: {uniform: [0, 1]}}"}, "6 suppression.sampling.classes: lists a class twice"),
    ({"suppression": "{num_classes: 6, p_max: {uniform: [0, 1]}}"}, "6 suppression.num_classes: must be below the number of classes, shapes has 6; got 6"),
    ({"suppression": "{sampling: {name: inverse_frequency, tau: -1}, p_max: {uniform: [0, 1]}}"}, "6 suppression.sampling.tau: must be > 0, got -1"),
    ({"suppression": "{p_max: {uniform: [0, 1]}, importance: {choice: [auto, classifier]}, layer: {choice: [decoder, encoder.4]}}"}, "6 suppression.importance: the classifier's weights fit the decoder's channels only; use auto, auxiliary or gradient at encoder.4"),
    ({"suppression": "{p_max: {uniform: [0, 1]}, layer: [{choice: [encoder.4, decoder]}, {choice: [encoder.5, decoder]}]}"}, "6 suppression.layer: lists a layer twice"),
    ({"preset": "{choice: [plain, full]}", "suppression": "{alpha: {uniform: [0.1, 99]}}"}, "6 suppression.alpha: must be <= 30, got uniform [0.1, 99]"),
    ({"preset": "plain", "suppression": "{p_max: {uniform: [0, 7]}}"}, "6 suppression.p_max: must be <= 1, got uniform [0, 7]"),
    ({"preset": "{choice: [random_channels, full]}", "suppression": "{mechanism: {choice: [gate, {name: hard, q: {uniform: [0.1, 2]}}]}}"}, "6 suppression.mechanism.q: must be < 1, got uniform [0.1, 2]"),
    ({"suppression": "{reweight: keep, p_max: {uniform: [0, 1]}}", "train": "{epochs: 1, batch_size: 1, loss: dice}"}, "6 suppression.reweight: keep divides by all labelled pixels, of which 'dice' is no mean; use mean, or the loss ce, focal or logit_adjusted"),
    ({"suppression": "{reweight: {choice: [mean, keep]}}", "train": "{epochs: 1, batch_size: 1, loss: {choice: [ce, {name: ohem, min_kept: {uniform: [0.1, 1]}}]}}"}, "6 suppression.reweight: keep divides by all labelled pixels, of which 'ohem' is no mean; use mean, or the loss ce, focal or logit_adjusted"),
    ({"preset": "fulll"}, "10 preset: unknown 'fulll'; one of none, official, official_recalibrated, official_ranks, plain, plain_small, class_weighted, ohem, focal, dice, lovasz, logit_adjusted, rare_class_sampling, rare_copy_paste, block, two_path, dropped_path, full, random_channels, erase, ignore, erase_elsewhere, erase_blocks (did you mean 'full'?)"),
    ({"train": "{epochs: 2, batch_size: 1, optimizer: adam}"}, "5 train.optimizer: unknown 'adam'; one of adamw, sgd (did you mean 'adamw'?)"),
    ({"data": "{name: shapes, size: 64}"}, "3 data.size: expected a list, got 64"),
    ({"data": "{name: shapes, augment: {flip: on}}"}, "3 data.augment.flip: expected true or false, got 'on'"),
    ({"model": "{arch: fpn, encoder: resnet18, encoder_weights: 1}"}, "4 model.encoder_weights: expected text, got 1; quote it"),
    ({"tracking": "nope"}, "9 tracking: expected a mapping; got 'nope'"),
    # the evaluation
    ({"evaluation": "{context: {classes: [meadw, sand]}}"}, "10 evaluation.context.classes: unknown class 'meadw'; one of meadow, sand, disk_rising, disk_falling, square_rising, square_falling (did you mean 'meadow'?)"),
    ({"evaluation": "{context: {classes: [sand, sand]}}"}, "10 evaluation.context.classes: lists a class twice"),
    ({"evaluation": "{context: {classes: []}}"}, "10 evaluation.context.classes: expected at least 1 value, got 0"),
    ({"evaluation": "{context: {frames: 0}}"}, "10 evaluation.context.frames: must be >= 1, got 0"),
    ({"evaluation": "{context: {every: 1.5}}"}, "10 evaluation.context.every: expected a whole number, got 1.5"),
    ({"evaluation": "{context: {fill: swap}}"}, "10 evaluation.context.fill: unknown 'swap'; one of noise, mean, blur"),
    ({"evaluation": "{context: all}"}, "10 evaluation.context: expected a mapping; got 'all'"),
    ({"evaluation": "{corruptions: {severity: 6}}"}, "10 evaluation.corruptions.severity: must be <= 5, got 6"),
    ({"evaluation": "{corruptions: {kinds: [fog]}}"}, "10 evaluation.corruptions.kinds: unknown key 'kinds'; one of frames, every, severity"),
    # bounds
    ({"train": "{epochs: 0, batch_size: 1}"}, "5 train.epochs: must be >= 1, got 0"),
    ({"train": "{epochs: 1, batch_size: 1, lr: 0}"}, "5 train.lr: must be > 0, got 0"),
    ({"train": "{epochs: 1, batch_size: 1, optimizer: {name: sgd, momentum: 1.0}}"}, "5 train.optimizer.momentum: must be < 1, got 1.0"),
    ({"data": "{name: shapes, rho: 1.5}"}, "3 data.rho: must be <= 1, got 1.5"),
    ({"data": "{name: shapes, size: [32, 63]}"}, "3 data.size[1]: must be a multiple of 32, got 63"),
    ({"data": "{name: shapes, size: [32]}"}, "3 data.size[1]: missing"),
    ({"data": "{name: shapes, size: [32, 32, 32]}"}, "3 data.size: expected 2 values, got 3"),
    ({"model": "{arch: fpn, encoder: ''}"}, "4 model.encoder: must not be empty"),
    ({"train": "{epochs: 1, batch_size: 1, class_weights: [1, 2]}"}, "5 train.class_weights: 2 weights, but shapes has 6 classes"),
    ({"resources": "{gpu: 1.5}"}, "8 resources.gpu: must be at most 1 or a whole number, got 1.5; a trial shares a GPU or has its own"),
    ({"resources": "{gpu: 65}"}, "8 resources.gpu: must be <= 64, got 65"),
    ({"resources": "{gpu: 0.5, ranks: 2}"}, "8 resources.ranks: must be left out where there is a GPU, got 2 with gpu: 0.5; a GPU has one rank"),
    ({"resources": "{gpu: 4, ranks: 2}"}, "8 resources.ranks: must be left out where there is a GPU, got 2 with gpu: 4; a GPU has one rank"),
    ({"resources": "{ranks: 0}"}, "8 resources.ranks: must be >= 1, got 0"),
    # a batch that ranks cannot share
    ({"resources": "{cpu: 4, ranks: 2}", "train": "{epochs: 1, batch_size: 3}"}, "5 train.batch_size: a batch of 3 is not divided by 2 ranks; 2 or 4 would be (resources.ranks)"),
    ({"resources": "{gpu: 4}", "train": "{epochs: 1, batch_size: {choice: [8, 6]}}"}, "5 train.batch_size: a batch of 6 is not divided by 4 ranks; 4 or 8 would be (resources.gpu)"),
    ({"resources": "{cpu: 4, ranks: 2}", "train": "{epochs: 1, batch_size: {int: [2, 6]}}"}, "5 train.batch_size: a batch of 3 is not divided by 2 ranks; 2 or 4 would be (resources.ranks)"),
    ({"resources": "{cpu: 4, ranks: 4}", "train": "{choice: [{epochs: 1, batch_size: 4}, {epochs: 2, batch_size: 2}]}"}, "5 train.choice[1].batch_size: a batch of 2 is not divided by 4 ranks; 4 would be (resources.ranks)"),
    ({"resources": "{cpu: 4, ranks: 2}", "train": "{epochs: 1, batch_size: 4}", "ablation": "{design: arms, arms: {a: {train.batch_size: 5}}}"}, "10 ablation.arms.a.train.batch_size: a batch of 5 is not divided by 2 ranks; 4 or 6 would be (resources.ranks)"),
    ({"resources": "{cpu: 4, ranks: 2}", "train": "{epochs: 1, batch_size: 4}", "ablation": "{design: one_at_a_time, factors: {train.batch_size: [4, 7]}}"}, "10 ablation.factors.train.batch_size: a batch of 7 is not divided by 2 ranks; 6 or 8 would be (resources.ranks)"),
    ({"resources": "{cpu: 1, ranks: 2}"}, "8 resources.ranks: must be at most cpu (1), got 2; each rank needs a core"),
    ({"resources": "{cpu: 0.5, ranks: 2}"}, "8 resources.ranks: must be at most cpu (0.5), got 2; each rank needs a core"),
    ({"resources": "{ranks: 2}"}, "8 resources.ranks: must be at most cpu (1), got 2; each rank needs a core"),
    # micro-batches that do not divide a batch, or that ranks cannot share
    ({"train": "{epochs: 1, batch_size: 10, accumulate: {int: [1, 5]}}", "search": "{trials: 1, references: [plain]}"}, "5 train.accumulate: must divide train.batch_size (10), got 3"),
    ({"train": "{epochs: 1, batch_size: {choice: [12, 24]}, accumulate: {int: [2, 12]}}"}, "5 train.accumulate: must divide train.batch_size (12), got 5"),
    ({"resources": "{cpu: 4, ranks: 2}", "train": "{epochs: 1, batch_size: 10, accumulate: 2}"}, "5 train.accumulate: a batch of 10 is not divided by 2 ranks x 2 micro-batches; 8 or 12 would be (resources.ranks)"),
    ({"resources": "{cpu: 4, ranks: 2}", "train": "{epochs: 1, batch_size: 10, accumulate: {choice: [1, 2, 5]}}"}, "5 train.accumulate: a batch of 10 is not divided by 2 ranks x 2 micro-batches; 8 or 12 would be (resources.ranks)"),
    ({"resources": "{cpu: 4, ranks: 2}", "train": "{epochs: 1, batch_size: {choice: [8, 12, 18]}, accumulate: 2}"}, "5 train.accumulate: a batch of 18 is not divided by 2 ranks x 2 micro-batches; 16 or 20 would be (resources.ranks)"),
    ({"resources": "{cpu: 4, ranks: 2}", "train": "{choice: [{epochs: 1, batch_size: 12, accumulate: 3}, {epochs: 1, batch_size: 8, accumulate: 8}]}"}, "5 train.choice[1].accumulate: a batch of 8 is not divided by 2 ranks x 8 micro-batches; 16 would be (resources.ranks)"),
    ({"resources": "{gpu: 4}", "train": "{epochs: 1, batch_size: 8, accumulate: 4}"}, "5 train.accumulate: a batch of 8 is not divided by 4 ranks x 4 micro-batches; 16 would be (resources.gpu)"),
    ({"resources": "{cpu: 4, ranks: 2}", "train": "{epochs: 1, batch_size: 8}", "data": "{name: shapes, train_images: 5}"}, "5 train.batch_size: all 5 training images are one batch, which 2 ranks cannot share equally; use fewer ranks or a smaller batch (resources.ranks)"),
    ({"resources": "{cpu: 4, ranks: 2}", "train": "{epochs: 1, batch_size: 10}", "ablation": "{design: arms, arms: {a: {train.accumulate: 2}}}"}, "10 ablation.arms.a.train.accumulate: train.accumulate: a batch of 10 is not divided by 2 ranks x 2 micro-batches; 8 or 12 would be (resources.ranks)"),
    ({"resources": "{cpu: 4, ranks: 2}", "train": "{epochs: 1, batch_size: 8, accumulate: 2}", "ablation": "{design: arms, arms: {a: {train.batch_size: 6}}}"}, "10 ablation.arms.a.train.batch_size: train.accumulate: a batch of 6 is not divided by 2 ranks x 2 micro-batches; 4 or 8 would be (resources.ranks)"),
    ({"resources": "{cpu: 4, ranks: 2}", "train": "{epochs: 1, batch_size: {choice: [12, 8, 10]}}", "ablation": "{design: arms, arms: {a: {train.accumulate: 2}}}"}, "10 ablation.arms.a.train.accumulate: train.accumulate: a batch of 10 is not divided by 2 ranks x 2 micro-batches; 8 or 12 would be (resources.ranks)"),
    ({"resources": "{cpu: 4, ranks: 2}", "train": "{epochs: 1, batch_size: 8}", "ablation": "{design: one_at_a_time, factors: {train.accumulate: [1, 2, 8]}}"}, "10 ablation.factors.train.accumulate[2]: train.accumulate: a batch of 8 is not divided by 2 ranks x 8 micro-batches; 16 would be (resources.ranks)"),
    ({"resources": "{cpu: 4, ranks: 2}", "train": "{epochs: 1, batch_size: 16, accumulate: 2}", "ablation": "{design: factorial, baseline: {train.accumulate: 1, suppression.p_max: 0.5}, factors: {train.batch_size: [4, 16], train.accumulate: [1, 4]}}"}, "10 ablation.factors.train.accumulate: train.accumulate: a batch of 4 is not divided by 2 ranks x 4 micro-batches; 8 would be (resources.ranks)"),
    ({"resources": "{cpu: 4, ranks: 2}", "train": "{epochs: 1, batch_size: 8}", "ablation": "{design: arms, arms: {a: {data.train_images: 5}}}"}, "10 ablation.arms.a.data.train_images: train.batch_size: all 5 training images are one batch, which 2 ranks cannot share equally; use fewer ranks or a smaller batch (resources.ranks)"),
    ({"resources": "{gpu: [1]}"}, "8 resources.gpu: expected auto or a number, got a list"),
    ({"resources": "{gpu: null}"}, "8 resources.gpu: expected auto or a number, got null"),
    ({"resources": "{gpu: true}"}, "8 resources.gpu: expected auto or a number, got true"),
    ({"evaluation": "{context: {frames: [1]}}"}, "10 evaluation.context.frames: expected all or a whole number, got a list"),
    ({"resources": "{gpu: atuo}"}, "8 resources.gpu: expected auto or a number, got 'atuo'"),
    ({"search": "{trials: 1, references: [plane]}"}, "7 search.references[0]: unknown 'plane'; one of none, official, official_recalibrated, official_ranks, plain, plain_small, class_weighted, ohem, focal, dice, lovasz, logit_adjusted, rare_class_sampling, rare_copy_paste, block, two_path, dropped_path, full, random_channels, erase, ignore, erase_elsewhere, erase_blocks (did you mean 'plain'?)"),
    ({"search": "{trials: 1, references: [plain, plain]}"}, "7 search.references: lists a reference twice"),
    # the study
    ({"study": ".s"}, "1 study: expected a plain word of at most 200 letters, digits, '.', '-', '_' that does not begin with '.' or '-' nor end with '.'; got '.s'"),
    ({"study": "a b"}, "1 study: expected a plain word of at most 200 letters, digits, '.', '-', '_' that does not begin with '.' or '-' nor end with '.'; got 'a b'"),
    ({"study": "3"}, "1 study: expected a plain word of at most 200 letters, digits, '.', '-', '_' that does not begin with '.' or '-' nor end with '.'; got 3; quote it"),
    ({"seed": "3"}, "10 seed: the seeds of trials derive from search.seed; write that"),
    # objectives
    ({"objective": "{metric: val/iou/sandd, mode: max}"}, "2 objective.metric: unknown metric 'val/iou/sandd'; one of"),
    ({"objective": "{metric: val/mIoU, mode: max}"}, "(did you mean 'val/miou'?)"),
    ({"objective": "[]"}, "2 objective: needs at least one metric"),
    ({"objective": "[{metric: val/miou, mode: max}, {metric: val/miou, mode: min}]"}, "2 objective[1].metric: 'val/miou' is an objective already"),
    ({"objective": "[{metric: val/miou, mode: maximum}]"}, "2 objective[0].mode: unknown 'maximum'; one of max, min (did you mean 'max'?)"),
    # domains
    ({"suppression": "{p_max: {uniform: [0.5, 2]}}"}, "6 suppression.p_max: must be <= 1, got uniform [0.5, 2]"),
    ({"suppression": "{p_max: {uniform: [2, 3]}}"}, "6 suppression.p_max: must be <= 1, got uniform [2, 3]"),
    ({"train": "{epochs: 1, batch_size: {uniform: [1, 8]}}"}, "5 train.batch_size: needs whole numbers: use int in place of uniform"),
    ({"train": "{epochs: 1, batch_size: {log_uniform: [1, 8]}}"}, "5 train.batch_size: needs whole numbers: use log_int in place of log_uniform"),
    ({"train": "{epochs: 1, batch_size: 1, lr: {log_uniform: [0, 1]}}"}, "5 train.lr: a logarithmic domain needs low > 0, got 0.0"),
    ({"train": "{epochs: 1, batch_size: 1, lr: {uniform: [2, 1]}}"}, "5 train.lr: low must be below high, got [2.0, 1.0]"),
    ({"train": "{epochs: 1, batch_size: 1, lr: {uniform: [1]}}"}, "5 train.lr: uniform: expected [low, high], two numbers; got [1]"),
    ({"train": "{epochs: {int: [1, 2.5]}, batch_size: 1}"}, "5 train.epochs: int: expected [low, high], two whole numbers; got [1, 2.5]"),
    ({"train": "{epochs: 1, batch_size: 1, lr: {uniform: [1, .inf]}}"}, "5 train.lr: the bounds must be finite, got [1.0, inf]"),
    ({"suppression": "{p_max: {uniform: [0, 1], step: 0}}"}, "6 suppression.p_max: step must be > 0, got 0.0"),
    ({"suppression": "{p_max: {uniform: [0, 1], step: 0.3}}"}, "6 suppression.p_max: step 0.3 must divide the range from 0.0 to 1.0, so that 1.0 is reached"),
    ({"suppression": "{p_max: {uniform: [0, 1], step: x}}"}, '6 suppression.p_max: step: expected a number, got "x"'),
    ({"train": "{epochs: {int: [1, 2], step: 0.5}, batch_size: 1}"}, "5 train.epochs: step: expected a whole number, got 0.5"),
    ({"suppression": "{p_max: {log_uniform: [0.1, 1], step: 0.1}}"}, "6 suppression.p_max: a logarithmic domain has no step"),
    ({"suppression": "{p_max: {choice: [0.1, 1], step: 0.1}}"}, "6 suppression.p_max: a choice has no step"),
    ({"suppression": "{p_max: {choice: []}}"}, "6 suppression.p_max: choice needs at least one option"),
    ({"suppression": "{p_max: {choice: 1}}"}, "6 suppression.p_max: choice: expected a list of options, got 1"),
    ({"suppression": "{p_max: {choice: [1, 0.5, 1.0]}}"}, "6 suppression.p_max: choice lists the option 1.0 twice"),
    ({"suppression": "{p_max: {uniform: [0, 1], choice: [1]}}"}, "6 suppression.p_max: a domain has one of the keys uniform, log_uniform, int, log_int, choice, and perhaps step; got uniform, choice"),
    ({"suppression": "{p_max: {uniform: [0, 1], log: true}}"}, "6 suppression.p_max: a domain has one of the keys uniform, log_uniform, int, log_int, choice, and perhaps step; got uniform, log"),
    ({"suppression": "{p_max: {uniform: [0, 1]}, sampling: {choice: [{name: uniform, tau: 1}]}}"}, "6 suppression.sampling.tau: unknown key 'tau'; one of name"),
    ({"suppression": "{sampling: {choice: [{name: inverse_frequency, tau: {uniform: [1, 11]}}]}}"}, "6 suppression.sampling.tau: must be <= 10, got uniform [1, 11]"),
    ({"suppression": "{sampling: {choice: [{name: inverse_frequency, tau: {uniform: [3, 1]}}]}}"}, "6 suppression.sampling.tau: low must be below high, got [3.0, 1.0]"),
    ({"data": "{name: shapes, size: [{int: [32, 64]}, 32]}"}, "3 data.size[0]: must be a multiple of 32, got int [32, 64]"),
    ({"data": "{name: {choice: [shapes, camvid]}}"}, "3 data.root: missing"),
    ({"search": "{trials: {int: [1, 3]}}"}, "7 search.trials: a domain may stand only inside preset, data, model, train, suppression, evaluation"),
    ({"resources": "{choice: [{cpu: 1}]}"}, "8 resources: a domain may stand only inside preset, data, model, train, suppression, evaluation"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "mistake"), MISTAKES, ids=lambda value: value if isinstance(value, str) else "")
def test_one_mistake_gives_one_line(complain, lines, mistake):
    found = complain(**lines)
    assert len(found) == 1
    if mistake.startswith("("):
        assert found[0].endswith(mistake)
    elif mistake.endswith("one of"):
        assert found[0].startswith(mistake)
    else:
        assert found == [mistake]


@pytest.mark.parametrize(
    "lines",
    [
        {"train": "{choice: [{epochs: 1, batch_size: 12, accumulate: 3}, {epochs: 1, batch_size: 8, accumulate: 4}]}"},
        {"train": "{epochs: 1, batch_size: {int: [12, 60], step: 12}, accumulate: {int: [1, 3]}}"},
        {"train": "{epochs: 1, batch_size: 8}", "data": "{name: shapes, train_images: 6}"},
        {
            "train": "{epochs: 1, batch_size: 8, accumulate: 4}",
            "ablation": "{design: arms, arms: {a: {train.batch_size: 12, train.accumulate: 3}}}",
        },
        {
            "train": "{epochs: 1, batch_size: 8}",
            "ablation": "{design: one_at_a_time, factors: {train.batch_size: [8, 6], train.accumulate: [1, 4]}}",
        },
    ],
)
def test_only_what_meets_in_a_trial_is_judged_together(write, lines):
    study = load(write(resources="{cpu: 2, ranks: 2}", **lines))
    assert study.spec.resources.trial_ranks == 2


def test_all_mistakes_of_a_file_come_at_once_in_the_order_of_lines(complain):
    found = complain(
        study="a b",
        objective="{metric: nope, mode: up}",
        model="{arch: unett, encoder: resnet, wieghts: null}",
        train="{epochs: {uniform: [1, 3]}, batch_size: -1}",
        suppression="{layer: encoder, p_max: 2}",
        search="{trials: 0, sampler: grid}",
        modle="1",
    )
    assert [line.split(":")[0] for line in found] == [
        "1 study", "2 objective.mode", "2 objective.metric", "4 model.arch", "4 model.encoder",
        "4 model.wieghts", "5 train.epochs", "5 train.batch_size", "6 suppression.layer",
        "6 suppression.p_max", "7 search.trials", "10 modle",
    ]  # fmt: skip


def test_options_of_a_choice_are_judged_each_at_its_line(tmp_path: Path, complain):
    options = "\n  sampling:\n    choice:\n    - {name: uniform, tau: 1}\n    - {name: present}\n    - {name: nope}"
    assert [line.split(":")[0] for line in complain(suppression=options)] == [
        "9 suppression.sampling.tau",
        "11 suppression.sampling",
    ]


def test_an_unknown_key_is_told_once_whatever_options_its_value_has(complain):
    """At the line of the key, not of each option."""
    options = "\n  samplign:\n    choice:\n    - uniform\n    - present\n  p_max: {uniform: [0, 1]}"
    (line,) = complain(suppression=options)
    assert line.startswith("7 suppression.samplign: unknown key 'samplign'; one of ")
    options = "\n  p_max: {uniform: [0, 1]}\n  sampling:\n    choice:\n    - {name: uniform, a: 1}\n    - {name: present, a: 1}"
    assert [line.split(":")[0] for line in complain(suppression=options)] == [
        "10 suppression.sampling.a",
        "11 suppression.sampling.a",
    ]


def test_data_options_are_checked_with_every_value_of_the_rest(complain):
    found = complain(
        data="{choice: [{name: shapes}, {name: shapes, size: [32, 32]}]}",
        train="{epochs: 1, batch_size: 1, class_weights: {choice: [null, [1, 2]]}}",
    )
    assert found == ["5 train.class_weights: 2 weights, but shapes has 6 classes"]


def test_the_metric_must_exist_for_every_data_option(complain, tmp_path):
    root = tmp_path / "camvid"
    for split in ("train", "val"):
        for folder in (split, f"{split}annot"):
            (root / folder).mkdir(parents=True)
            (root / folder / "0.png").touch()
    data = f"{{choice: [{{name: shapes}}, {{name: camvid, root: {root}}}]}}"
    found = complain(data=data, objective="{metric: val/context_gap, mode: min}")
    assert len(found) == 1
    assert found[0].startswith("2 objective.metric: unknown metric 'val/context_gap'; one of val/miou")


def test_missing_data_is_found_at_load(complain):
    found = complain(data="\n  name: camvid\n  root: /nowhere/at/all")
    assert found[0].startswith("5 data.root: no folder /nowhere/at/all; it must hold train/")
    assert len(found) == 1


def test_missing_sections(tmp_path: Path):
    path = tmp_path / "x.yaml"
    path.write_text("# a comment\nmodel: {arch: fpn, encoder: resnet18}\n")
    with pytest.raises(ConfigError) as error:
        load(path)
    missing = ["study", "objective", "data", "train"]
    assert [str(mistake) for mistake in error.value.mistakes] == [f"{path}:2 {key}: missing" for key in missing]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", f":1: the file is empty; a study file is a mapping with the keys {TOP}"),
        (b"- 1\n", f":1: got a list; a study file is a mapping with the keys {TOP}"),
        (b"study: \xff\n", ": not UTF-8 text: invalid start byte, byte 7"),
        (None, ": no such file or directory"),
    ],
)
def test_files_that_hold_no_study(tmp_path: Path, content, message):
    path = tmp_path / "x.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        load(path)
    assert str(error.value) == f"{path}{message}"


def test_a_folder_is_no_study(tmp_path: Path):
    with pytest.raises(ConfigError, match="is a directory"):
        load(tmp_path)
