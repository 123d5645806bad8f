# Reference values for test_auc.py and test_proportions.py from R: pROC (DeLong) and base R (intervals, McNemar).
#
# Run from the repository's root, on Debian:
#   apt-get install -y --no-install-recommends r-base-core r-cran-proc
#   Rscript tests/data/proc.R
# Made with R 4.2.2 and pROC 1.18.0.
#
# Reads  tests/data/proc_input.csv       dataset, y (0/1), score_a, score_b: random draws, rounded so that most tie
# Writes tests/data/proc_auc.csv         per dataset and score: AUC, DeLong variance, 95 % interval
#        tests/data/proc_paired.csv      per dataset: covariance, difference, 90 % interval, Z and p of roc.test
#        tests/data/proc_proportions.csv Wilson and Clopper-Pearson, from prop.test and binom.test
#        tests/data/proc_mcnemar.csv     exact and chi-square p-values of discordant counts

suppressPackageStartupMessages(library(pROC))

digits <- function(frame) {
  numeric <- sapply(frame, is.double)
  frame[numeric] <- lapply(frame[numeric], function(column) sprintf("%.17g", column))
  frame
}
export <- function(rows, name) {
  write.csv(digits(do.call(rbind, rows)), file.path("tests/data", name), row.names = FALSE, quote = FALSE)
}

images <- read.csv("tests/data/proc_input.csv")
one <- list()
paired <- list()
for (dataset in unique(images$dataset)) {
  part <- images[images$dataset == dataset, ]
  curve <- function(score) roc(part$y, part[[score]], levels = c(0, 1), direction = "<", quiet = TRUE)
  for (score in c("score_a", "score_b")) {
    limits <- as.numeric(suppressWarnings(ci.auc(curve(score), method = "delong", conf.level = 0.95)))
    one[[length(one) + 1]] <- data.frame(
      dataset = dataset, score = score, auc = limits[2],
      variance = as.numeric(suppressWarnings(var(curve(score), method = "delong"))),
      low = limits[1], high = limits[3]
    )
  }
  test <- suppressWarnings(
    roc.test(curve("score_a"), curve("score_b"), method = "delong", paired = TRUE, conf.level = 0.90)
  )
  paired[[length(paired) + 1]] <- data.frame(
    dataset = dataset,
    covariance = as.numeric(suppressWarnings(cov(curve("score_a"), curve("score_b"), method = "delong"))),
    difference = as.numeric(test$estimate[1] - test$estimate[2]),
    low = as.numeric(test$conf.int[1]), high = as.numeric(test$conf.int[2]),
    z = as.numeric(test$statistic), p_value = as.numeric(test$p.value)
  )
}
export(one, "proc_auc.csv")
export(paired, "proc_paired.csv")

proportions <- list()
for (n in c(1, 2, 29, 96, 336, 672)) {
  for (count in unique(c(0, 1, n %/% 3, n - 1, n))) {
    for (level in c(0.9, 0.95)) {
      wilson <- suppressWarnings(prop.test(count, n, conf.level = level, correct = FALSE))$conf.int
      exact <- binom.test(count, n, conf.level = level)$conf.int
      proportions[[length(proportions) + 1]] <- data.frame(
        count = as.integer(count), n = as.integer(n), level = level,
        wilson_low = wilson[1], wilson_high = wilson[2], exact_low = exact[1], exact_high = exact[2]
      )
    }
  }
}
export(proportions, "proc_proportions.csv")

mcnemar <- list()
for (pair in list(c(1, 0), c(0, 7), c(5, 5), c(2, 9), c(12, 30), c(60, 41))) {
  chi <- mcnemar.test(matrix(c(100, pair[2], pair[1], 50), 2), correct = FALSE)
  mcnemar[[length(mcnemar) + 1]] <- data.frame(
    only_a = as.integer(pair[1]), only_b = as.integer(pair[2]),
    exact_p = binom.test(pair[1], sum(pair))$p.value,
    chi_square = as.numeric(chi$statistic), chi_square_p = chi$p.value
  )
}
export(mcnemar, "proc_mcnemar.csv")
